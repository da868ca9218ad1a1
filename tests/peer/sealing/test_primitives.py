"""The building blocks against the vectors of their RFCs and against `cryptography`."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import sodium_pad
from overfence.identity import H, L, agreement_public, sign, signing_public, verify
from overfence.sealing import (
    BadEntry,
    Forged,
    MalformedMessage,
    WeakKey,
    aead_open,
    aead_seal,
    direct_conversation,
    hkdf,
    mailbox_address,
    open_entry,
    seal_entry,
    topic_id,
)
from overfence.sealing.primitives import ZERO_SALT, chain_step, pad, unpad, x25519, zero_salted

KEY = bytes(range(32))


# RFC 5869, appendix A. HMAC fills a short key with zeros and hashes one past a block, so that each
# salt has a 32-byte equal.
@pytest.mark.parametrize(
    ("ikm", "salt", "info", "okm"),
    [
        (
            "0b" * 22,
            bytes(range(13)).ljust(32, b"\0"),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(80)).hex(),
            sha256(bytes(range(0x60, 0xB0))).digest(),
            bytes(range(0xB0, 0x100)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            ZERO_SALT,
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_derivation_gives_the_rfcs_keys(ikm: str, salt: bytes, info: bytes, okm: str) -> None:
    assert hkdf(salt, bytes.fromhex(ikm), info, len(okm) // 2).hex() == okm


@given(salt=st.binary(min_size=32, max_size=32), ikm=st.binary(), info=st.binary(), length=st.integers(1, 200))
def test_derivation_agrees_with_another_library(salt: bytes, ikm: bytes, info: bytes, length: int) -> None:
    assert hkdf(salt, ikm, info, length) == HKDF(SHA256(), length, salt, info).derive(ikm)
    assert zero_salted(ikm, info) == HKDF(SHA256(), 32, ZERO_SALT, info).derive(ikm)


@given(chain=st.binary(min_size=32, max_size=32))
def test_a_chain_step_is_two_hmacs(chain: bytes) -> None:
    assert chain_step(chain) == (hmac.digest(chain, b"\x01", "sha256"), hmac.digest(chain, b"\x02", "sha256"))


# RFC 7748, section 5.2
@pytest.mark.parametrize(
    ("scalar", "point", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_agreement_gives_the_rfcs_secrets(scalar: str, point: str, shared: str) -> None:
    assert x25519(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == shared


# RFC 7748, section 5.2: the secret after so many rounds; the last takes half a minute.
@pytest.mark.parametrize(
    ("rounds", "secret"),
    [
        (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
        (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
        pytest.param(
            1_000_000,
            "7c3911e0ab2586fd864497297e575e6f3bc601c0883c30df5f4dd2d24f665424",
            marks=(pytest.mark.nightly, pytest.mark.timeout(600)),
        ),
    ],
)
def test_agreement_over_and_over_gives_the_rfcs_secret(rounds: int, secret: str) -> None:
    scalar = point = b"\x09" + bytes(31)
    for _ in range(rounds):
        scalar, point = x25519(scalar, point), scalar
    assert scalar.hex() == secret


def test_agreement_gives_the_rfcs_keys_from_both_sides() -> None:
    # RFC 7748, section 6.1
    ada = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert agreement_public(ada).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert agreement_public(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert x25519(ada, agreement_public(bob)).hex() == x25519(bob, agreement_public(ada)).hex() == shared


@given(secret=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_agreement_agrees_with_another_library(secret: bytes, other: bytes) -> None:
    public = X25519PrivateKey.from_private_bytes(other).public_key().public_bytes_raw()
    assert agreement_public(other) == public
    expected = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    assert x25519(secret, public) == expected


# Every point of small order on the curve and its twist, and their unreduced forms; the highest bit is passed over.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("top", [0, 0x80])
@pytest.mark.parametrize("raw", SMALL_ORDER)
def test_a_point_of_small_order_is_refused(raw: str, top: int) -> None:
    point = bytes.fromhex(raw)
    point = point[:31] + bytes((point[31] | top,))
    for secret in (KEY, H(KEY), b"\xff" * 32):
        with pytest.raises(WeakKey):
            x25519(secret, point)
        # … since it makes a secret of zeros, which the other library knows as well.
        with pytest.raises(ValueError, match="shared key"):
            X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(point))


@pytest.mark.parametrize("above", range(2, 19))
def test_an_unreduced_point_of_full_order_is_reduced(above: int) -> None:
    """RFC 7748, section 5, wants it read so; both spellings being taken, a key is known by its bytes, not its point."""
    unreduced = (2**255 - 19 + above).to_bytes(32, "little")
    assert x25519(KEY, unreduced) == x25519(KEY, above.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused_and_not_read_past(length: int) -> None:
    with pytest.raises(WeakKey):
        x25519(KEY, bytes(range(1, length + 1)))


def test_signatures_are_ed25519_over_label_and_context() -> None:
    # RFC 8032, section 7.1, test 1
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = signing_public(seed)
    assert public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = sign(seed, "devices", b"what is signed")
    assert signature == Ed25519PrivateKey.from_private_bytes(seed).sign(b"overfence/1 devices\0what is signed")
    assert verify(public, "devices", b"what is signed", signature)
    assert not verify(public, "prekeys", b"what is signed", signature)
    assert not verify(public, "devices", b"what was signed", signature)
    assert not verify(signing_public(KEY), "devices", b"what is signed", signature)
    assert not verify(public, "devices", b"what is signed", signature[:-1])
    assert not verify(public[:-1], "devices", b"what is signed", signature)


def test_sealing_gives_the_drafts_ciphertext() -> None:
    # draft-irtf-cfrg-xchacha-03, appendix A.3.1
    nonce = bytes(range(0x40, 0x58))
    key = bytes(range(0x80, 0xA0))
    ad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    words = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    words += b"sunscreen would be it."
    sealed = aead_seal(key, words, ad, lambda count: nonce[:count])
    assert sealed.hex() == nonce.hex() + (
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49"
    )
    assert aead_open(key, sealed, ad) == words


def test_what_was_sealed_opens_only_whole_and_with_its_key_and_data() -> None:
    sealed = aead_seal(KEY, b"secret", b"ad", lambda count: bytes(count))
    for at in range(len(sealed)):
        with pytest.raises(Forged):
            aead_open(KEY, sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :], b"ad")
        with pytest.raises(Forged):
            aead_open(KEY, sealed[:at], b"ad")
    for key, ad in ((bytes(32), b"ad"), (KEY, b"da")):
        with pytest.raises(Forged):
            aead_open(key, sealed, ad)


@given(plaintext=st.binary(max_size=600))
def test_padding_is_sodiums(plaintext: bytes) -> None:
    padded = pad(plaintext)
    assert padded == sodium_pad(plaintext, 256)
    assert unpad(padded) == plaintext


@pytest.mark.parametrize("padded", [b"", bytes(256), b"\x80" + bytes(511), b"\x80", b"a" * 256, b"\x80\x01" * 128])
def test_wrong_padding_is_refused(padded: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpad(padded)


def test_names_derived_from_keys_are_the_same_from_both_sides_and_for_no_one_else() -> None:
    ada, bob, eve = (H(name) for name in (b"ada", b"bob", b"eve"))
    assert direct_conversation(ada, bob) == direct_conversation(bob, ada)
    assert direct_conversation(ada, bob) != direct_conversation(ada, eve)
    assert len(direct_conversation(ada, bob)) == 32
    assert mailbox_address(KEY) == H(L("mailbox") + KEY)[:16]


def test_a_topic_differs_by_secret_node_and_day_and_its_entry_opens_there_only() -> None:
    here = topic_id(KEY, H(b"node"), "2026-07-01")
    others = [
        topic_id(bytes(32), H(b"node"), "2026-07-01"),
        topic_id(KEY, H(b"other node"), "2026-07-01"),
        topic_id(KEY, H(b"node"), "2026-07-02"),
    ]
    assert len({here, *others}) == 4
    entry = seal_entry(KEY, here, b"at home", lambda count: bytes(count))
    assert open_entry(KEY, here, entry) == b"at home"
    for secret, topic in ((bytes(32), here), (KEY, others[2])):
        with pytest.raises(BadEntry):
            open_entry(secret, topic, entry)
