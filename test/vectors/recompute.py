#!/usr/bin/env python3
"""A second implementation of the ring protocol, to hold the first one against: python3 recompute.py ring/*.json

Written from docs/protocol.md and the RFCs that it names, with the standard library alone. Takes the inputs of a vector,
recomputes every value and message of it, and verifies every signature. Stops with status 1 at the first difference and
says which value it is. It signs only where signatures are deterministic (Ed25519). Nothing here is constant in time.
"""
import hashlib
import hmac
import json
import os
import sys


# --- CBOR, core deterministic encoding (RFC 8949, 4.2.1) ---------------------------------------------------------------
def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise ValueError(value)


def cbor(item):
    if item is None:
        return b"\xf6"
    if item is True or item is False:
        return b"\xf5" if item else b"\xf4"
    if isinstance(item, int):
        return head(0, item) if item >= 0 else head(1, -1 - item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, (list, tuple)):
        return head(4, len(item)) + b"".join(cbor(inner) for inner in item)
    if isinstance(item, dict):
        pairs = sorted((cbor(key), cbor(value)) for key, value in item.items())
        return head(5, len(pairs)) + b"".join(key + value for key, value in pairs)
    raise TypeError(item)


# --- Hashes (docs/protocol.md, 2) and HKDF (RFC 5869) ------------------------------------------------------------------
def sha256(data):
    return hashlib.sha256(data).digest()


def H(label, *items):
    return sha256(cbor(["gridring1/" + label, *items]))


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, info, length):
    block, output, counter = b"", b"", 1
    while len(output) < length:
        block = hmac256(prk, block + info + bytes([counter]))
        output, counter = output + block, counter + 1
    return output[:length]


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


# --- X25519 (RFC 7748) -------------------------------------------------------------------------------------------------
P = 2**255 - 19


def x25519(secret, u):
    k = int.from_bytes(secret, "little") & (1 << 254) - 8 | 1 << 254
    x1 = int.from_bytes(u, "little")
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


X25519_BASE = (9).to_bytes(32, "little")


# --- Ed25519 (RFC 8032), extended coordinates --------------------------------------------------------------------------
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ED_ZERO = (0, 1, 1, 0)


def ed_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def ed_sum(*terms):
    """The sum of k times point over all terms, doubling once for all."""
    total = ED_ZERO
    for t in range(255, -1, -1):
        total = ed_add(total, total)
        for k, point in terms:
            if k >> t & 1:
                total = ed_add(total, point)
    return total


def ed_encode(point):
    z = pow(point[2], -1, P)
    x, y = point[0] * z % P, point[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def ed_decode(encoded):
    value = int.from_bytes(encoded, "little")
    y, sign = value & (1 << 255) - 1, value >> 255
    assert y < P
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (v * x * x - u) % P == 0
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


ED_BASE = ed_decode(bytes.fromhex("58" + "66" * 31))


def sha512_int(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


class Ed25519:
    algorithm = -19

    def __init__(self, seed):
        digest = hashlib.sha512(seed).digest()
        self.scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        self.prefix = digest[32:]
        self.point = ed_sum((self.scalar, ED_BASE))
        self.public = ed_encode(self.point)

    def sign(self, data):
        r = sha512_int(self.prefix, data) % L
        encoded = ed_encode(ed_sum((r, ED_BASE)))
        s = (r + sha512_int(encoded, self.public, data) * self.scalar) % L
        return encoded + s.to_bytes(32, "little")

    def verifies(self, data, signature):
        s = int.from_bytes(signature[32:], "little")
        k = sha512_int(signature[:32], self.public, data) % L
        x, y, z, t = self.point
        return s < L and ed_encode(ed_sum((s, ED_BASE), (k, (-x, y, z, -t)))) == signature[:32]


# --- P-256, Jacobian coordinates (FIPS 186-5, SEC 1) -------------------------------------------------------------------
Q = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
P256_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    1,
)
P256_ZERO = (1, 1, 0)


def p256_double(p):
    x, y, z = p
    if z == 0:
        return p
    zz, yy = z * z % Q, y * y % Q
    m, s = 3 * (x - zz) * (x + zz) % Q, 4 * x * yy % Q
    x3 = (m * m - 2 * s) % Q
    return x3, (m * (s - x3) - 8 * yy * yy) % Q, 2 * y * z % Q


def p256_add(p, q):
    if p[2] == 0 or q[2] == 0:
        return q if p[2] == 0 else p
    pzz, qzz = p[2] ** 2 % Q, q[2] ** 2 % Q
    u1, u2 = p[0] * qzz % Q, q[0] * pzz % Q
    s1, s2 = p[1] * qzz * q[2] % Q, q[1] * pzz * p[2] % Q
    if u1 == u2:
        return p256_double(p) if s1 == s2 else P256_ZERO
    h, r = u2 - u1, s2 - s1
    hh = h * h % Q
    hhh, v = h * hh % Q, u1 * hh % Q
    x = (r * r - hhh - 2 * v) % Q
    return x, (r * (v - x) - s1 * hhh) % Q, p[2] * q[2] * h % Q


def p256_sum(*terms):
    total = P256_ZERO
    for t in range(255, -1, -1):
        total = p256_double(total)
        for k, point in terms:
            if k >> t & 1:
                total = p256_add(total, point)
    return total


def p256_affine(point):
    z = pow(point[2], -1, Q)
    return point[0] * z * z % Q, point[1] * z**3 % Q


def p256_lift(x_bytes):
    """A point with that x; either will do."""
    x = int.from_bytes(x_bytes, "big")
    yy = (x**3 - 3 * x + B) % Q
    y = pow(yy, (Q + 1) // 4, Q)
    assert x < Q and y * y % Q == yy
    return x, y, 1


def uncompressed(point):
    x, y = p256_affine(point)
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


class Ecdsa:
    algorithm = -9
    sign = None  # not deterministic: any valid signature is as good

    def __init__(self, secret):
        self.point = p256_sum((int.from_bytes(secret, "big"), P256_BASE))
        self.public = uncompressed(self.point)

    def verifies(self, data, signature):
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if not (0 < r < N and 0 < s <= N // 2):
            return False
        w = pow(s, -1, N)
        u1, u2 = int.from_bytes(sha256(data), "big") * w % N, r * w % N
        return p256_affine(p256_sum((u1, P256_BASE), (u2, self.point)))[0] % N == r


# --- ChaCha20-Poly1305 (RFC 8439) --------------------------------------------------------------------------------------
def chacha_block(key, counter, nonce):
    def words(data):
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    start = words(b"expand 32-byte k") + words(key) + [counter] + words(nonce)
    state = list(start)

    def quarter(a, b, c, d):
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = state[x] + state[y] & 0xFFFFFFFF
            v = state[z] ^ state[x]
            state[z] = (v << by | v >> 32 - by) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return b"".join((a + b & 0xFFFFFFFF).to_bytes(4, "little") for a, b in zip(state, start))


def padded(data):
    return data + bytes(-len(data) % 16)


def chacha20poly1305(key, nonce, aad, plaintext):
    sealed = b""
    for i in range(0, len(plaintext), 64):
        chunk = plaintext[i : i + 64]
        sealed += xor(chunk, chacha_block(key, 1 + i // 64, nonce)[: len(chunk)])
    one_time = chacha_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    data = padded(aad) + padded(sealed) + len(aad).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    tag = total + int.from_bytes(one_time[16:32], "little") & 2**128 - 1
    return sealed + tag.to_bytes(16, "little")


# --- AES-128-GCM (FIPS 197, SP 800-38D) --------------------------------------------------------------------------------
def times2(byte):
    return (byte << 1 ^ (0x1B if byte & 0x80 else 0)) & 0xFF


def make_sbox():
    sbox, p, q = [0x63] * 256, 1, 1
    while True:
        p ^= times2(p)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        rotated = 0
        for by in range(5):
            rotated ^= q << by | q >> 8 - by
        sbox[p] = (rotated ^ 0x63) & 0xFF
        if p == 1:
            return sbox


SBOX = make_sbox()


def aes_schedule(key):
    words, rcon = [key[i : i + 4] for i in range(0, 16, 4)], 1
    while len(words) < 44:
        word = words[-1]
        if len(words) % 4 == 0:
            word = bytes(SBOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = times2(rcon)
        words.append(xor(words[-4], word))
    return [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]


def aes_block(schedule, block):
    state = xor(block, schedule[0])
    for i in range(1, 11):
        state = [SBOX[state[(4 * (at // 4 + at % 4) + at % 4) % 16]] for at in range(16)]
        if i < 10:
            mixed = []
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                every = a[0] ^ a[1] ^ a[2] ^ a[3]
                mixed += [a[j] ^ every ^ times2(a[j] ^ a[(j + 1) % 4]) for j in range(4)]
            state = mixed
        state = xor(bytes(state), schedule[i])
    return state


def ghash_times(x, y):
    z = 0
    for t in range(127, -1, -1):
        if x >> t & 1:
            z ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return z


def aes128gcm(key, nonce, aad, plaintext):
    schedule = aes_schedule(key)
    h = int.from_bytes(aes_block(schedule, bytes(16)), "big")
    sealed = b""
    for i in range(0, len(plaintext), 16):
        chunk = plaintext[i : i + 16]
        sealed += xor(chunk, aes_block(schedule, nonce + (2 + i // 16).to_bytes(4, "big"))[: len(chunk)])
    data = padded(aad) + padded(sealed) + (8 * len(aad)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    total = 0
    for i in range(0, len(data), 16):
        total = ghash_times(total ^ int.from_bytes(data[i : i + 16], "big"), h)
    return sealed + xor(total.to_bytes(16, "big"), aes_block(schedule, nonce + (1).to_bytes(4, "big")))


# --- The two suites ----------------------------------------------------------------------------------------------------
class Suite1:
    number, signer, aead, aead_algorithm, aead_key = 1, Ed25519, staticmethod(chacha20poly1305), 24, 32
    kem_id, aead_id = 0x20, 3

    def public(self, secret):
        return x25519(secret, X25519_BASE)

    hpke_public = public

    def agree(self, secret, peer):
        return x25519(secret, peer)

    def wire(self, hpke_public):
        return hpke_public

    def derived_secret(self, labels, prk):
        return labels.expand(prk, "sk", b"", 32)


class Suite2:
    number, signer, aead, aead_algorithm, aead_key = 2, Ecdsa, staticmethod(aes128gcm), 1, 16
    kem_id, aead_id = 0x10, 1

    def public(self, secret):
        return self.hpke_public(secret)[1:33]

    def hpke_public(self, secret):
        return uncompressed(p256_sum((int.from_bytes(secret, "big"), P256_BASE)))

    def agree(self, secret, peer):
        point = p256_sum((int.from_bytes(secret, "big"), p256_lift(peer)))
        return p256_affine(point)[0].to_bytes(32, "big")

    def wire(self, hpke_public):
        return hpke_public[1:33]

    def derived_secret(self, labels, prk):
        for counter in range(256):
            candidate = labels.expand(prk, "candidate", bytes([counter]), 32)
            if 0 < int.from_bytes(candidate, "big") < N:
                return candidate
        raise ValueError("no candidate is a scalar")


# --- HPKE, base mode, single shot (RFC 9180) ---------------------------------------------------------------------------
class Labels:
    def __init__(self, suite_id):
        self.prefix = b"HPKE-v1", suite_id

    def extract(self, salt, label, key):
        version, suite_id = self.prefix
        return hmac256(salt, version + suite_id + label.encode() + key)

    def expand(self, prk, label, info, length):
        version, suite_id = self.prefix
        return expand(prk, length.to_bytes(2, "big") + version + suite_id + label.encode() + info, length)


class Hpke:
    def __init__(self, suite):
        self.suite = suite
        self.kem = Labels(b"KEM" + suite.kem_id.to_bytes(2, "big"))
        ids = (suite.kem_id, 1, suite.aead_id)
        self.labels = Labels(b"HPKE" + b"".join(i.to_bytes(2, "big") for i in ids))

    def derive(self, ikm):
        return self.suite.derived_secret(self.kem, self.kem.extract(b"", "dkp_prk", ikm))

    def schedule(self, agreed, kem_context, info):
        shared = self.kem.expand(self.kem.extract(b"", "eae_prk", agreed), "shared_secret", kem_context, 32)
        labels = self.labels
        context = b"\x00" + labels.extract(b"", "psk_id_hash", b"") + labels.extract(b"", "info_hash", info)
        secret = labels.extract(shared, "secret", b"")
        return (
            labels.expand(secret, "key", context, self.suite.aead_key),
            labels.expand(secret, "base_nonce", context, 12),
        )

    def seal(self, ikm, recipient, info, plaintext):
        secret = self.derive(ikm)
        enc = self.suite.hpke_public(secret)
        agreed = self.suite.agree(secret, self.suite.wire(recipient))
        key, nonce = self.schedule(agreed, enc + recipient, info)
        return enc, self.suite.aead(key, nonce, b"", plaintext)

    def same_from_other_side(self, secret, enc, info, plaintext):
        """What sealing gives when the recipient does the agreement: equal, or the recipient could not open it."""
        agreed = self.suite.agree(secret, self.suite.wire(enc))
        key, nonce = self.schedule(agreed, enc + self.suite.hpke_public(secret), info)
        return self.suite.aead(key, nonce, b"", plaintext)


# --- The protocol (docs/protocol.md) -----------------------------------------------------------------------------------
REASONS = ["founding", "periodic", "join", "leave", "revocation", "retry", "request", "restart"]


class Difference(Exception):
    pass


class Signatory:
    def __init__(self, suite, described):
        der = bytes.fromhex(described["certificate"])
        self.key = suite.signer(bytes.fromhex(described["signingSecret"]))
        self.cert_hash = sha256(der)
        self.kid = self.cert_hash[:8]
        if self.key.public not in der:
            raise Difference("a signing secret does not belong to its certificate")


class Vector:
    def __init__(self, vector):
        self.inputs, self.expected = vector["inputs"], vector["values"]
        self.suite = {1: Suite1, 2: Suite2}[self.inputs["suite"]]()
        self.hpke = Hpke(self.suite)
        self.values = self.signatures = 0
        self.gid = bytes.fromhex(self.inputs["gid"])
        self.authority, self.coordinator, self.reader = (
            Signatory(self.suite, self.inputs[name]) for name in ("authority", "coordinator", "reader")
        )
        self.meters = [Signatory(self.suite, member) for member in self.inputs["members"]]

    def same(self, name, computed, expected):
        self.values += 1
        if isinstance(computed, bytes):
            computed = computed.hex()
        if computed != expected:
            raise Difference(f"{name}: {computed} where the vector has {expected}")

    def message(self, name, signatory, kind, context, payload, expected):
        """Checks a message and gives back its signature; all but that must be as computed, and in suite 1 that too."""
        protected = cbor({1: signatory.key.algorithm, 4: signatory.kid})
        signature = bytes.fromhex(expected)[-64:]
        self.same(name, b"\xd2" + cbor([protected, {}, payload, signature]), expected)
        signed = cbor(["Signature1", protected, cbor(["gridring1", kind, context]), payload])
        if signatory.key.sign is not None:
            self.same(f"signature of {name}", signatory.key.sign(signed), signature.hex())
        if not signatory.key.verifies(signed, signature):
            raise Difference(f"signature of {name} does not verify")
        self.signatures += 1
        return signature

    def check(self):
        self.check_list()
        self.check_round_1()
        self.check_round_2()
        self.check_round_3()
        self.check_envelopes()
        return f"{self.values} values, {self.signatures} signatures"

    def check_list(self):
        given = self.inputs["list"]
        entries = sorted(
            (bytes.fromhex(entry["certHash"]), entry["roles"], entry["hpkeKey"]) for entry in given["entries"]
        )
        self.listed = [cert_hash for cert_hash, _, _ in entries]
        policy = [
            self.inputs["suite"],
            given["minMembers"],
            [bytes.fromhex(required) for required in given["requiredMembers"]],
            given["gatewayIsMember"],
            ["full", "constrained"].index(given["profile"]),
            given["rekeyIntervalS"],
            given["graceS"],
            [
                [
                    bytes.fromhex(rule["reader"]),
                    None if rule["meters"] is None else [bytes.fromhex(meter) for meter in rule["meters"]],
                ]
                for rule in given["readings"]
            ],
            given["epochFloor"],
        ]
        items = [[cert_hash, roles, key and bytes.fromhex(key)] for cert_hash, roles, key in entries]
        payload = cbor([self.gid, given["version"], policy, items, given["notBeforeS"], given["notAfterS"]])
        self.same("listPayload", payload, self.expected["listPayload"])
        self.list_hash = H("list", payload)
        self.same("listHash", self.list_hash, self.expected["listHash"])
        messages = self.expected["messages"]
        self.message("messages.list", self.authority, "membership", self.gid, payload, messages["list"])

    def check_round_1(self):
        given, expected = self.inputs["announcement"], self.expected
        self.epoch, self.attempt = given["epoch"], given["attempt"]
        payload = cbor(
            [
                self.gid,
                self.epoch,
                self.attempt,
                bytes.fromhex(given["nonce"]),
                self.coordinator.cert_hash,
                self.list_hash,
                self.inputs["suite"],
                REASONS.index(given["reason"]),
                given["expiryS"],
            ]
        )
        self.same("announcementPayload", payload, expected["announcementPayload"])
        announcement = expected["messages"]["announcement"]
        self.message("messages.announcement", self.coordinator, "announcement", self.gid, payload, announcement)
        self.ann_id = H("ann", payload)
        self.same("annId", self.ann_id, expected["annId"])
        members = zip(self.meters, self.inputs["members"], strict=True)
        self.ring = sorted(members, key=lambda member: H("order", self.ann_id, member[0].cert_hash))
        self.same("number of members", len(self.ring), len(expected["members"]))
        self.secrets = [bytes.fromhex(member["ephemeralSecret"]) for _, member in self.ring]
        self.openings = [bytes.fromhex(member["opening"]) for _, member in self.ring]
        self.keys = [self.suite.public(secret) for secret in self.secrets]
        self.commitments = [
            H("commit", self.ann_id, meter.cert_hash, opening)
            for (meter, _), opening in zip(self.ring, self.openings, strict=True)
        ]
        entries = []
        for i, ((meter, _), member) in enumerate(zip(self.ring, expected["members"], strict=True)):
            name, index = f"members[{i}]", self.listed.index(meter.cert_hash)
            self.same(f"{name}.certHash", meter.cert_hash, member["certHash"])
            self.same(f"{name}.listIndex", index, member["listIndex"])
            self.same(f"{name}.order", H("order", self.ann_id, meter.cert_hash), member["order"])
            self.same(f"{name}.ephemeralKey", self.keys[i], member["ephemeralKey"])
            self.same(f"{name}.commitment", self.commitments[i], member["commitment"])
            share = cbor([self.ann_id[:8], self.keys[i], self.commitments[i]])
            signature = self.message(
                f"{name}.messages.share", meter, "share", self.ann_id, share, member["messages"]["share"]
            )
            entries.append([index, self.keys[i], self.commitments[i], signature])
        roster = cbor([self.ann_id[:8], entries])
        self.message("messages.roster", self.coordinator, "roster", self.ann_id, roster, expected["messages"]["roster"])

    def check_round_2(self):
        expected, n = self.expected, len(self.ring)
        roster_hash = H("roster", [meter.cert_hash for meter, _ in self.ring])
        self.sid = H("sid", self.ann_id, n, roster_hash)
        self.th1 = H("th1", self.sid, self.keys, self.commitments)
        self.same("rosterHash", roster_hash, expected["rosterHash"])
        self.same("sid", self.sid, expected["sid"])
        self.same("th1", self.th1, expected["th1"])
        agreements = [self.suite.agree(self.secrets[i], self.keys[(i + 1) % n]) for i in range(n)]
        self.edges = [H("edge", self.th1, i, agreement) for i, agreement in enumerate(agreements)]
        tags = [H("tag", self.th1, i, edge)[:16] for i, edge in enumerate(self.edges)]
        self.parts, unsigned, signed = [], [], []
        for i, member in enumerate(expected["members"]):
            name = f"members[{i}]"
            self.same(f"{name}.agreement", agreements[i], member["agreement"])
            self.same(f"{name}.edge", self.edges[i], member["edge"])
            parts = [xor(self.edges[i - 1], self.edges[i]), tags[i - 1], tags[i], self.openings[i]]
            for field, part in zip(("token", "leftTag", "rightTag"), parts):
                self.same(f"{name}.{field}", part, member[field])
            token, meter = cbor([self.sid[:8], *parts]), self.ring[i][0]
            signature = self.message(
                f"{name}.messages.token", meter, "token", self.th1, token, member["messages"]["token"]
            )
            self.parts.append(parts)
            unsigned.append([*parts, None])
            signed.append([*parts, signature])
        for name, entries in (("tokens", unsigned), ("signedTokens", signed)):
            bundle = cbor([self.sid[:8], entries])
            self.message(f"messages.{name}", self.coordinator, "tokens", self.th1, bundle, expected["messages"][name])

    def check_round_3(self):
        expected = self.expected
        self.th2 = H("th2", self.th1, self.parts)
        self.same("th2", self.th2, expected["th2"])
        prk = hmac256(self.th2, b"".join(self.edges))
        self.same("prk", prk, expected["prk"])
        derived = {}
        names = (("groupKey", "GK"), ("confirmationKey", "kc"), ("groupSeed", "seedG"), ("exporter", "exporter"))
        for name, label in names:
            info = cbor(["gridring1", label, self.gid, self.epoch, self.attempt])
            derived[name] = expand(prk, info, 32)
            self.same(name, derived[name], expected[name])
        public = self.suite.hpke_public(self.hpke.derive(derived["groupSeed"]))
        self.same("groupPublicKey", public, expected["groupPublicKey"])
        entries = []
        for i, member in enumerate(expected["members"]):
            mac = hmac256(derived["confirmationKey"], cbor([i, self.th2]))[:16]
            self.same(f"members[{i}].mac", mac, member["mac"])
            confirmation, meter = cbor([self.sid[:8], self.th2, mac, public]), self.ring[i][0]
            name, whole = f"members[{i}].messages.confirmation", member["messages"]["confirmation"]
            signature = self.message(name, meter, "confirmation", self.th2, confirmation, whole)
            entries.append([mac, signature, public])
        bundle, messages = cbor([self.sid[:8], entries]), expected["messages"]
        name, whole = "messages.confirmations", messages["confirmations"]
        self.message(name, self.coordinator, "confirmations", self.th2, bundle, whole)
        parts = ("announcement", "roster", "signedTokens", "confirmations")
        self.same("record", cbor([bytes.fromhex(messages[part]) for part in parts]), expected["record"])

    def check_envelopes(self):
        expected, given, meter = self.expected, self.inputs["reading"], self.meters[0]
        messages = expected["messages"]
        key = bytes.fromhex(given["key"])
        key_hash = H("rk", key)
        self.same("keyHash", key_hash, expected["keyHash"])
        name = [self.gid, self.epoch, self.attempt, self.th2]
        info = cbor(["gridring1", "grant", *name, meter.cert_hash, self.reader.cert_hash])
        secret = bytes.fromhex(self.inputs["reader"]["hpkeSecret"])
        enc, sealed_key = self.hpke.seal(bytes.fromhex(given["grantIkm"]), self.suite.hpke_public(secret), info, key)
        self.same("grantEnc", enc, expected["grantEnc"])
        self.same("grantCiphertext", sealed_key, expected["grantCiphertext"])
        opened = self.hpke.same_from_other_side(secret, enc, info, key)
        self.same("grantCiphertext, by the reader", opened, expected["grantCiphertext"])
        grant = cbor([*name, meter.cert_hash, self.reader.cert_hash, key_hash, enc, sealed_key])
        self.message("messages.grant", meter, "grant", self.gid, grant, messages["grant"])

        sequence, previous = given["sequence"], bytes.fromhex(given["previousHash"])
        header = [*name[:3], self.th2[:8], meter.cert_hash, sequence, previous, key_hash]
        protected = cbor({1: self.suite.aead_algorithm})
        aad = cbor(["Encrypt0", protected, cbor(["gridring1", "reading", *header])])
        nonce = bytes(4) + sequence.to_bytes(8, "big")
        ciphertext = self.suite.aead(key, nonce, aad, bytes.fromhex(given["plaintext"]))
        sealed = b"\xd0" + cbor([protected, {}, ciphertext])
        self.same("sealed", sealed, expected["sealed"])
        envelope = cbor([*header, sealed])
        self.message("messages.envelope", meter, "reading", self.gid, envelope, messages["envelope"])
        self.same("envelopeHash", H("envelope", envelope), expected["envelopeHash"])
        envelope_hash = H("envelope", envelope)
        now = self.inputs["nowS"]
        header = [*name[:3], meter.cert_hash]
        gap = cbor(["gap", *header, sequence + 1, envelope_hash, 4, now - 600, now - 60, ["1-0:1.8.1"]])
        self.message("messages.gap", meter, "gap", self.gid, gap, messages["gap"])
        day = (now - 1) // 86400
        checkpoint = cbor(["checkpoint", *header, sequence + 2, H("envelope", gap), day, sequence, 1])
        self.message("messages.checkpoint", meter, "checkpoint", self.gid, checkpoint, messages["checkpoint"])
        upload = cbor([[bytes.fromhex(messages["grant"])], [bytes.fromhex(messages["envelope"])]])
        self.same("upload", upload, expected["upload"])
        receipt = cbor([H("upload", upload)])
        self.message("messages.receipt", self.coordinator, "receipt", meter.cert_hash, receipt, messages["receipt"])


def main(paths):
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        with open(path, encoding="utf8") as file:
            vector = json.load(file)
        try:
            print(f"{os.path.basename(path)}: {Vector(vector).check()}")
        except Difference as difference:
            sys.exit(f"{os.path.basename(path)}: {difference}")


if __name__ == "__main__":
    main(sys.argv[1:])
