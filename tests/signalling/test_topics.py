"""Everyone in a topic ends up knowing exactly who else is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from overfence_signalling import NodeLimits, Snapshot, encode
from overfence_signalling.limits import PAGE_BYTES
from overfence_signalling.topics import Refused, Topics

TOPIC = b"t" * 32


def entered(topics: Topics, connection: int, entry: bytes, topic: bytes = TOPIC) -> list[Snapshot]:
    pages = topics.enter(connection, topic, entry, ref=1)
    assert isinstance(pages, list), pages
    return pages


steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(1, 5), st.integers(0, 2), st.binary(max_size=4)),
        st.tuples(st.just("leave"), st.integers(1, 5), st.integers(0, 2), st.just(b"")),
        st.tuples(st.just("gone"), st.integers(1, 5), st.just(0), st.just(b"")),
        st.tuples(st.just("tell"), st.just(0), st.just(0), st.just(b"")),
    ),
    max_size=60,
)


@given(steps)
def test_what_each_was_told_is_what_is(steps: list[tuple[str, int, int, bytes]]) -> None:
    topics = Topics(NodeLimits())
    truth: dict[bytes, dict[int, bytes]] = {}
    told: dict[tuple[int, bytes], dict[int, bytes]] = {}

    def tell() -> None:
        for connections, pages in topics.changes():
            assert pages and len(set(connections)) == len(connections)
            for page in pages:
                for connection in connections:
                    view = told[connection, page.topic]
                    for number in page.left:
                        assert number in view, "told of somebody leaving who never was there"
                        del view[number]
                    view.update({one.member: one.entry for one in page.entered})

    for action, connection, number, entry in [*steps, ("tell", 0, 0, b"")]:
        topic = bytes([number]) * 32
        here = truth.setdefault(topic, {})
        if action == "enter":
            pages = entered(topics, connection, entry, topic)
            assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
            told[connection, topic] = {one.member: one.entry for page in pages for one in page.entries}
            here[connection] = entry
        elif action == "leave":
            topics.leave(connection, topic)
            here.pop(connection, None)
        elif action == "gone":
            topics.gone(connection)
            for everyone in truth.values():
                everyone.pop(connection, None)
        else:
            tell()
            for topic, members in truth.items():
                for me in members:
                    others = sorted(e for other, e in members.items() if other != me)
                    assert sorted(told[me, topic].values()) == others
    assert len(topics) == sum(1 for members in truth.values() if members)


def test_a_snapshot_and_a_burst_of_changes_are_paged() -> None:
    topics = Topics(NodeLimits(entries_per_topic=1_000))
    entered(topics, 1_000, b"watcher")
    for connection in range(200):
        entered(topics, connection, b"x" * 1_024)
    pages = entered(topics, 999, b"")
    assert len(pages) > 1
    assert sum(len(page.entries) for page in pages) == 201
    assert all(len(encode(page)) <= PAGE_BYTES for page in pages)
    watched = [page for connections, pages in topics.changes() if 1_000 in connections for page in pages]
    assert sum(len(page.entered) for page in watched) == 201
    assert all(len(encode(page)) <= PAGE_BYTES for page in watched)


def test_who_came_and_went_within_a_batch_is_no_news() -> None:
    topics = Topics(NodeLimits())
    entered(topics, 1, b"watcher")
    entered(topics, 2, b"")
    assert len(list(topics.changes())) == 1
    for _ in range(10_000):
        topics.leave(2, TOPIC)
        entered(topics, 2, b"x")
    ((connections, (left, came)),) = list(topics.changes())
    assert connections == [1]
    assert (left.left, len(came.entered)) == ((2,), 1)


def test_each_bound_refuses_and_what_was_there_stays() -> None:
    topics = Topics(NodeLimits(topics_per_connection=2, entries_per_topic=2, topics=3))
    entered(topics, 1, b"a")
    entered(topics, 2, b"b")
    assert topics.enter(3, TOPIC, b"c", ref=1) is Refused.TOPIC_FULL
    assert entered(topics, 1, b"again"), "who is in may change its entry"
    entered(topics, 1, b"", b"u" * 32)
    assert topics.enter(1, b"v" * 32, b"", ref=1) is Refused.TOO_MANY_HERE
    entered(topics, 3, b"", b"v" * 32)
    assert topics.enter(3, b"w" * 32, b"", ref=1) is Refused.NODE_FULL
    topics.leave(1, b"u" * 32)
    entered(topics, 3, b"", b"w" * 32)


def test_members_are_numbered_per_topic_so_that_topics_cannot_be_matched() -> None:
    topics = Topics(NodeLimits())
    first, second = b"1" * 32, b"2" * 32
    for connection in (1, 2, 3):
        entered(topics, connection, b"", first)
    entered(topics, 3, b"", second)
    (page,) = entered(topics, 4, b"", second)
    assert [one.member for one in page.entries] == [1]


def test_who_was_refused_and_left_is_forgotten() -> None:
    topics = Topics(NodeLimits(entries_per_topic=1))
    topics.enter(0, bytes(32), b"x", ref=1)
    for connection in range(1, 1000):
        assert topics.enter(connection, bytes(32), b"y", ref=1) is Refused.TOPIC_FULL
        topics.gone(connection)
    assert len(topics._entered) == 1
