"""The sessions of one device pair: which one sends, which still receive, which are over (§3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Annotated, Literal

import msgspec

from overfence.identity import Device, Identity

from .card import Prekeys, PrekeySecret
from .errors import BadState, Duplicate, Forged, MalformedMessage, NoSession, UnknownPrekey, UnknownSession, WeakKey
from .handshake import PRE_BYTES, SID_BYTES, Agreement, Pre, initiate, respond
from .primitives import ZERO_SALT, H, L, Random, hkdf
from .ratchet import JUMP_LIMIT, Header, Key, Ratchet

# Each session is written with each message; a peer that keeps starting new ones pushes out its own.
SESSION_LIMIT = 5
# A session that no longer sends is kept this long for messages still on their way, and its name as
# long again, so that what comes later still is dropped without a word.
SESSION_LIFE_S = 30 * 24 * 3600
# Handshakes and retired names are remembered one by one up to these bounds, so that a peer cannot
# fill our disk with them; of older handshakes only the highest epoch is kept, and none below it is taken.
SEEN_LIMIT = 64
RETIRED_LIMIT = 256

# Post-quantum healing (§2): a session is followed by another after a day, or so many messages, but not within an hour.
RENEW_AFTER_S = 24 * 3600
RENEW_AFTER_MESSAGES = 10_000
RENEW_EVERY_S = 3600

Integer = Annotated[int, msgspec.Meta(ge=-1, lt=2**53)]
Sid = Annotated[bytes, msgspec.Meta(min_length=SID_BYTES, max_length=SID_BYTES)]


class Standing(IntEnum):
    """How far a session has come."""

    OFFERED = 0  # ours, and nothing heard in it yet: the handshake goes before each message
    HEARD = 1
    MUTED = 2  # the peer said it cannot read it: it only receives, for good


@dataclass(frozen=True, repr=False)
class Opened:
    """One message opened: its payload, the session it came in, and whether that is new or was just answered."""

    payload: bytes
    sid: bytes
    epoch: int
    transcript: bytes
    new_session: bool
    answered: bool


class Session(msgspec.Struct, array_like=True, kw_only=True, eq=False):
    """One handshake and the ratchet that grew from it."""

    epoch: Integer
    by_us: bool
    by_smaller_dsk: bool
    standing: Standing
    transcript: Key
    topic_secret: Key
    ratchet: Ratchet
    # What goes before each message until the first answer.
    pre: bytes = b""
    # When it stops receiving, in unix seconds; 0 as long as it may send.
    until_s: Integer = 0
    # Messages sealed and opened in it.
    carried: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    # When it was begun, by this device's clock: the epoch is the initiator's word, and may lie ahead.
    begun_s: Integer = 0

    @classmethod
    def begin(
        cls, agreement: Agreement, ratchet: Ratchet, *, epoch: int, by_us: bool, by_smaller_dsk: bool, now_s: int
    ) -> Session:
        """A session just agreed on."""
        return cls(
            epoch=epoch,
            by_us=by_us,
            by_smaller_dsk=by_smaller_dsk,
            standing=Standing.OFFERED if by_us else Standing.HEARD,
            transcript=agreement.transcript,
            topic_secret=hkdf(ZERO_SALT, agreement.secret, L("topic"), 32),
            ratchet=ratchet,
            pre=agreement.pre if by_us else b"",
            begun_s=now_s,
        )

    @property
    def rank(self) -> tuple[int, bool, bytes]:
        """The same order on both sides: by epoch, and where two were begun at once, the smaller DSK's first."""
        return self.epoch, self.by_smaller_dsk, self.ratchet.sid

    def __repr__(self) -> str:
        return f"<Session {self.ratchet.sid.hex()} {self.standing.name.lower()} epoch {self.epoch}>"


class Sessions(msgspec.Struct, array_like=True, kw_only=True, eq=False):
    """Every session with one device of a peer: which one sends, which still receive.

    Whatever `open` raises, nothing here has changed; what it returns is to be stored before it is acted on.
    """

    version: Literal[1, 2] = 2
    held: Annotated[list[Session], msgspec.Meta(max_length=SESSION_LIMIT)] = []
    # sid → when it was retired, in unix seconds
    retired: dict[Sid, Integer] = {}
    # EK → epoch of each handshake taken
    seen: dict[Key, Integer] = {}
    # No handshake up to this epoch is taken any more.
    closed_epoch: Integer = -1
    known_epoch: Integer = 0

    @classmethod
    def decode(cls, raw: bytes) -> Sessions:
        """What `encode` wrote; raises `BadState`."""
        try:
            found = _DECODER.decode(raw)
            is_first = found.version == 1 and _is_first_version(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadState("the stored sessions are damaged") from error
        # A shorter array would be filled up with defaults: sessions forgotten without a word.
        if is_first:
            found.version = 2
        elif found.encode() != raw:
            raise BadState("the stored sessions are damaged")
        return found

    def encode(self) -> bytes:
        """Everything, every secret in clear, as MessagePack."""
        return _ENCODER.encode(self)

    @property
    def can_seal(self) -> bool:
        """Whether `seal` has a session to seal on."""
        return self._sender() is not None

    @property
    def unanswered(self) -> bool:
        """Whether a handshake of ours waits for its answer, and is not overtaken by a later session."""
        return self._awaited() is not None

    def is_worn(self, now_s: int) -> bool:
        """Whether the session that sends has served for a day or 10,000 messages, and is to be renewed (§2)."""
        session = self._sender()
        if session is None or session.standing is not Standing.HEARD:
            return False
        age_s = now_s - (session.begun_s or min(session.epoch, now_s))
        return age_s >= RENEW_AFTER_S or (session.carried >= RENEW_AFTER_MESSAGES and age_s >= RENEW_EVERY_S)

    @property
    def begun_s(self) -> int:
        """When the newest session was begun, by its initiator's clock."""
        return self.known_epoch

    @property
    def sending_sid(self) -> bytes | None:
        """The session `seal` would send on; 8 bytes."""
        session = self._sender()
        return None if session is None else session.ratchet.sid

    @property
    def unheard(self) -> int:
        """How many numbers `seal` has used since the peer was last heard to have received one of them, at most."""
        session = self._sender()
        return 0 if session is None else session.ratchet.sent

    @property
    def topic_secret(self) -> bytes | None:
        """The 32 bytes a pair's first topic comes from (§4): those of the sending, else of the newest session."""
        session = self._sender() or max(self.held, key=_rank, default=None)
        return None if session is None else session.topic_secret

    @property
    def transcript(self) -> bytes | None:
        """The hash of our unanswered handshake, else of the first one of ours still held; 32 bytes."""
        first = min((session for session in self.held if session.by_us), key=_rank, default=None)
        session = self._awaited() or first
        return None if session is None else session.transcript

    def initiate(
        self, me: Identity, peer: Device, peer_account: bytes, prekeys: Prekeys, *, now_s: int, random: Random
    ) -> None:
        """Begin a session on the peer's prekeys; raises `BadCard` for another device's and `WeakKey` for bad ones.

        It sends once answered, or at once where there is no other. `seal_unanswered` sends its handshake.
        """
        epoch = max(self.known_epoch + 1, now_s)
        agreement = initiate(me, peer, peer_account, prekeys, epoch=epoch, random=random)
        ratchet = Ratchet.of_initiator(
            secret=agreement.secret, ad=agreement.ad, sid=agreement.sid, spk=prekeys.spk, random=random
        )
        by_smaller = me.dsk < peer.dsk
        self._add(
            Session.begin(agreement, ratchet, epoch=epoch, by_us=True, by_smaller_dsk=by_smaller, now_s=now_s), now_s
        )

    def seal(self, payload: bytes, *, random: Random) -> bytes:
        """A whole message on the highest session heard, else on our unanswered handshake; raises `NoSession`."""
        return _seal(self._sender(), payload, random)

    def seal_unanswered(self, payload: bytes, *, random: Random) -> bytes:
        """A whole message on our unanswered handshake, though others may send: how renewal and reset begin (§2, §3).

        Raises `NoSession` where none waits.
        """
        return _seal(self._awaited(), payload, random)

    def mute(self, sid: bytes) -> bool:
        """Never send on ``sid`` again: the peer's reset says it cannot read it (§3). It still receives.

        False where that is no news.
        """
        session = self._find(sid)
        if session is None or session.standing is Standing.MUTED:
            return False
        session.standing = Standing.MUTED
        return True

    def give_up(self) -> None:
        """Wait no longer for the answer to a handshake of ours; another may be begun."""
        while (session := self._awaited()) is not None:
            session.standing = Standing.MUTED

    def mute_all(self) -> None:
        """Never send on any of these again: one begun after this does (§2)."""
        for session in self.held:
            session.standing = Standing.MUTED

    def open(
        self,
        message: bytes,
        *,
        me: Identity,
        peer: Device,
        peer_account: bytes,
        prekey_secrets: Mapping[bytes, PrekeySecret],
        now_s: int,
        random: Random,
        jump_limit: int = JUMP_LIMIT,
    ) -> Opened:
        """Open a message, and begin the session whose handshake it carries; it may skip ``jump_limit`` others.

        Raises `Duplicate`, `UnknownSession`, `UnknownPrekey`, `Forged`, `TooFarAhead` or `MalformedMessage`.
        Whether a new session's device stands in its account's list is to be checked before its content is shown (§2).
        """
        pre = Pre.peek(message)
        body = message if pre is None else message[PRE_BYTES:]
        sid = Header.parse(body).sid
        if pre is not None and H(pre.raw)[:SID_BYTES] != sid:
            raise MalformedMessage("the handshake is not this message's")
        session = self._find(sid)
        if session is not None:
            return self._open_known(session, body, now_s, random, jump_limit)
        if now_s - self.retired.get(sid, now_s - SESSION_LIFE_S - 1) <= SESSION_LIFE_S:
            raise Duplicate("this session is over")
        if pre is None:
            raise UnknownSession(sid)
        if (pre.account, pre.dsk, pre.dik) != (peer_account, *peer):
            raise Forged("the handshake names another device")
        prekey = self._prekey(pre, prekey_secrets)
        return self._accept(pre, body, me, prekey, now_s, random, jump_limit)

    def _open_known(self, session: Session, body: bytes, now_s: int, random: Random, jump_limit: int) -> Opened:
        payload = session.ratchet.decrypt(body, now_s=now_s, random=random, jump_limit=jump_limit)
        session.carried += 1
        answered = session.standing is Standing.OFFERED
        if answered:
            session.standing = Standing.HEARD
            session.pre = b""
        if len(self.held) > 1 or self.retired or session.ratchet.skipped:
            self._tidy(now_s)
        return Opened(
            payload, session.ratchet.sid, session.epoch, session.transcript, new_session=False, answered=answered
        )

    def _prekey(self, pre: Pre, prekey_secrets: Mapping[bytes, PrekeySecret]) -> PrekeySecret:
        if pre.ek in self.seen or pre.epoch <= self.closed_epoch:
            raise Duplicate("this handshake was taken before")
        prekey = prekey_secrets.get(pre.prekey_id)
        if prekey is None:
            raise UnknownPrekey(pre.prekey_id)
        return prekey

    def _accept(
        self, pre: Pre, body: bytes, me: Identity, prekey: PrekeySecret, now_s: int, random: Random, jump_limit: int
    ) -> Opened:
        try:
            agreement = respond(me, pre, prekey)
        except WeakKey:
            raise Forged("the handshake holds a key of small order") from None
        ratchet = Ratchet.of_responder(
            secret=agreement.secret, ad=agreement.ad, sid=agreement.sid, spk_secret=prekey.spk_secret
        )
        payload = ratchet.decrypt(body, now_s=now_s, random=random, jump_limit=jump_limit)
        self.seen[pre.ek] = pre.epoch
        if len(self.seen) > SEEN_LIMIT:
            oldest = min(self.seen, key=self.seen.__getitem__)
            self.closed_epoch = max(self.closed_epoch, self.seen.pop(oldest))
        by_smaller = pre.dsk < me.dsk
        self._add(
            Session.begin(agreement, ratchet, epoch=pre.epoch, by_us=False, by_smaller_dsk=by_smaller, now_s=now_s),
            now_s,
        )
        return Opened(payload, agreement.sid, pre.epoch, agreement.transcript, new_session=True, answered=False)

    def _find(self, sid: bytes) -> Session | None:
        return next((session for session in self.held if session.ratchet.sid == sid), None)

    def _sender(self) -> Session | None:
        heard = self._highest(Standing.HEARD)
        return self._highest(Standing.OFFERED) if heard is None else heard

    def _awaited(self) -> Session | None:
        heard, offered = self._highest(Standing.HEARD), self._highest(Standing.OFFERED)
        overtaken = heard is not None and offered is not None and offered.rank < heard.rank
        return None if overtaken else offered

    def _highest(self, standing: Standing) -> Session | None:
        return max((session for session in self.held if session.standing is standing), key=_rank, default=None)

    def _add(self, session: Session, now_s: int) -> None:
        self.known_epoch = max(self.known_epoch, session.epoch)
        self.held.append(session)
        if len(self.held) > SESSION_LIMIT:
            # The one just begun stays, whatever its epoch: it may be the only one its owner still has.
            needed = (session, self._sender(), self._awaited())
            self._retire(min((held for held in self.held if held not in needed), key=_rank), now_s)
        self._tidy(now_s)

    def tidy(self, now_s: int) -> None:
        """Forget skipped keys, sessions and names whose time is over, though nothing is heard any more (§3)."""
        self._tidy(now_s)

    def _tidy(self, now_s: int) -> None:
        sender, awaited = self._sender(), self._awaited()
        for session in self.held[:]:
            if session is sender or session is awaited:
                session.until_s = 0
            elif session.until_s == 0:
                session.until_s = now_s + SESSION_LIFE_S
            elif now_s > session.until_s:
                self._retire(session, now_s)
            session.ratchet.forget_old(now_s)
        for sid in [sid for sid, at_s in self.retired.items() if now_s - at_s > SESSION_LIFE_S]:
            del self.retired[sid]

    def _retire(self, session: Session, now_s: int) -> None:
        self.held.remove(session)
        self.retired[session.ratchet.sid] = now_s
        for sid in list(islice(self.retired, max(0, len(self.retired) - RETIRED_LIMIT))):
            del self.retired[sid]

    def __repr__(self) -> str:
        return f"<Sessions {self.held}>"


def session_of(message: bytes) -> bytes:
    """The 8-byte name of the session a message is of; raises `MalformedMessage`."""
    pre = Pre.peek(message)
    return Header.parse(message if pre is None else message[PRE_BYTES:]).sid


def _seal(session: Session | None, payload: bytes, random: Random) -> bytes:
    if session is None:
        raise NoSession("no session has been begun with this device")
    session.carried += 1
    return session.pre + session.ratchet.encrypt(payload, random=random)


def _is_first_version(raw: bytes) -> bool:
    """Whole sessions as the first version wrote them, which counted no messages."""
    fields = msgspec.msgpack.decode(raw)
    return len(fields) == _FIELDS and all(len(session) == _FIELDS_OF_FIRST for session in fields[1])


def _rank(session: Session) -> tuple[int, bool, bytes]:
    return session.rank


_FIELDS = len(Sessions.__struct_fields__)
_FIELDS_OF_FIRST = len(Session.__struct_fields__) - 2
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Sessions)
