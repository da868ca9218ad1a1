"""Bob, writing a conversation with Ada all by himself."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from overfence.delivery.incoming import Shelf
from overfence.delivery.outgoing import proof_of
from overfence.delivery.payload import AnyItem, Batch, Have, HeldRun, Introduction, decode_payload, encode_payload
from overfence.history import people, postbox
from overfence.history.event import Address, Addresses, Devices, Event, Profile, Text, kind_of
from overfence.history.log import extend
from overfence.identity import DeviceList, Invite, agreement_public
from overfence.sealing import Pre, Sessions, direct_conversation, open_envelope, seal_envelope
from overfence.sealing.handshake import PRE_MARK, respond
from overfence.sealing.ratchet import Ratchet
from overfence.sealing.sessions import Session
from overfence_reliability import Run

from ..delivery.conftest import NODE, Box, Home


class Forger:
    """Bob alone, writing as Ada: with his own secrets, and of hers what each of her contacts is told."""

    def __init__(self, bob: Home, invite: Invite, device_list: DeviceList, consent: bytes) -> None:
        self.bob, self.invite, self.device_list, self.consent = bob, invite, device_list, consent
        [self.device] = device_list.devices
        self.conv = direct_conversation(device_list.account, bob.identity.account)
        self.log, self.run, self.lamport = bob.random(8), Run(), 0
        self.address = Address(NODE, bob.random(16), bob.random(32))
        bob.node.boxes[self.address.mailbox] = Box()
        self.sessions = self.begin()
        self.heard: list[Event] = []

    def begin(self) -> Sessions:
        """A handshake from Ada: whoever holds the responder's secrets computes the initiator's half of it too."""
        box = postbox.mailbox(self.bob.tx, self.invite.mailbox)
        assert box is not None
        assert box.prekey is not None
        prekey = Shelf(self.bob.tx)[box.prekey]
        _, kem_ct = MLKEM768PublicKey.from_public_bytes(prekey.kpk).encapsulate()
        epoch = self.bob.me.now_s
        raw = PRE_MARK + self.device_list.account + b"".join(self.device) + agreement_public(self.bob.random(32))
        pre = Pre.peek(raw + epoch.to_bytes(8, "big") + prekey.prekey_id + kem_ct)
        assert pre is not None
        agreed = respond(self.bob.identity, pre, prekey)
        ratchet = Ratchet.of_initiator(
            secret=agreed.secret, ad=agreed.ad, sid=agreed.sid, spk=prekey.spk, random=self.bob.random
        )
        by_smaller = self.device.dsk < self.bob.me.dsk
        return Sessions(
            held=[Session.begin(agreed, ratchet, epoch=epoch, by_us=True, by_smaller_dsk=by_smaller, now_s=epoch)]
        )

    def event(self, content: Text | Profile | Addresses | Devices) -> tuple[bytes, bytes | None]:
        """Ada's next event."""
        self.lamport += 1
        event = extend(
            self.run,
            conv=self.conv,
            device=self.device.dsk,
            log=self.log,
            lamport=self.lamport,
            at_ms=self.bob.me.clock_ms(),
            kind=kind_of(content),
            content=content,
            salt=self.bob.random(16),
        )
        self.run = Run(event.header.seq, event.id)
        return event.header_bytes, event.body

    def knock(self, text: str) -> None:
        """Ada's first message, with all that her client would say."""
        transcript = self.sessions.transcript
        assert transcript is not None
        addresses = (self.address,)
        introduction = Introduction(
            self.device_list.raw, addresses, self.consent, proof_of(self.invite.key, transcript)
        )
        facts = (Profile("Ada"), Addresses(addresses), Devices(self.device_list.raw), Text(text))
        self.put(self.invite.mailbox, self.invite.key, introduction, Batch(tuple(self.event(fact) for fact in facts)))

    def answer(self, text: str) -> None:
        """She reads what Bob wrote, confirms it, and goes on."""
        for _, _, envelope, _ in self.bob.node.boxes[self.address.mailbox].items:
            _, message = open_envelope(self.address.key, self.address.mailbox, envelope)
            opened = self.sessions.open(
                message,
                me=self.bob.identity,
                peer=self.device,
                peer_account=self.bob.identity.account,
                prekey_secrets={},
                now_s=self.bob.me.now_s,
                random=self.bob.random,
            )
            batches = [item.events for item in decode_payload(opened.payload) if isinstance(item, Batch)]
            self.heard += [Event.parse(*event) for batch in batches for event in batch]
        last = self.heard[-1]
        self.lamport = max(event.header.lamport for event in self.heard)
        held = HeldRun(self.bob.me.dsk, last.header.log, last.header.seq, last.id)
        contact = people.contact_of(self.bob.tx, self.device_list.account)
        assert contact is not None
        [to] = postbox.mailbox_for(self.bob.tx, contact.id)
        self.put(to.mailbox, to.key, Have(self.conv, (held,), self.lamport))
        self.put(to.mailbox, to.key, Batch((self.event(Text(text)),)))

    def put(self, mailbox: bytes, key: bytes, *items: AnyItem) -> None:
        message = self.sessions.seal(encode_payload(*items), random=self.bob.random)
        envelope = seal_envelope(key, mailbox, self.device.dsk, message, self.bob.random)
        assert self.bob.node.put(mailbox, self.bob.random(16), envelope)
