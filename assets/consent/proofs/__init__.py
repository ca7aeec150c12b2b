"""Proofs that a stranger can check: what each file says, byte for byte, and how to check it without this code.

Every file is one line of canonical JSON (RFC 8785, text in Unicode form C) and a newline. Digests, salts, keys, signatures
and tree nodes are lower-case hexadecimal. Nothing is needed but the platform's public checkpoint key (Ed25519, 32 bytes).

**A statement** `{"schema", ..., "signature": {"key_id", "sig"}}`: take `signature` out, write the rest as canonical JSON;
`sig` is over `rushes/statement/1`, one zero byte and that JSON; `key_id` is `k-` and 32 digits of SHA-256(public key).
**A checkpoint** `rushes.checkpoint/1` `{"size", "root", "recorded_at", "key_id", "public_key", "sig"}`: the ledger after
`size` events; `sig` is over `rushes/checkpoint/1`, a zero byte and the canonical JSON of schema, size, root, recorded_at.
**Trees** are those of RFC 9162, section 2.1: leaf SHA-256(0x00 || data), node SHA-256(0x01 || left || right). A `path` is
an inclusion proof (2.1.3), `consistency` a consistency proof (2.1.4).

`rushes.model/1` says which clips the weights ever saw: sealed sets, each by `snapshot_root`, `ids_root` and size `n`. Check
both checkpoints and the consistency from `start` to `end`.
`rushes.exclusion/1` says that a clip is in none of a model's sets. Check the model's statement inside and, for each of its
sets, both neighbours' paths, that their indexes are adjacent, and the order.
`rushes.inclusion/1` says that a clip is in these of a model's sets. Check the model's statement and the clip's paths.
`rushes.receipt/1` says what one person consented to, where it was used and what was paid. Check each entry's leaf, path and
signature, that its key was bound to its actor, and the clips' paths in the sets.
`rushes.completion/1` says what was done after a withdrawal. Check the checkpoint, and the path of each cause's leaf.

**A set's tree** (`ids_root`) has one leaf a clip, in ascending order of clip ids; a leaf's data are the 32 bytes of the id. A
clip is absent when two leaves at consecutive indexes lie around it, or the first leaf after it, or the last before it, or
`n` is 0. That holds only if the leaves are sorted; where `complete` is true the whole list is there to see that they are.
**A ledger entry** `{"seq", "recorded_at", "salt", "leaf", "envelope", "path"}`: `leaf` is made of SHA-256(salt || recorded_at
|| canonical JSON of `envelope.body` || the 64 bytes of `envelope.sig`), and `seq` is its index. `envelope.sig` is over
`rushes/consent/1`, a zero byte and the canonical body, by the key that a `register_key` entry bound to the body's `actor`.

What no such file can show: that training read only the sets that were committed to (that rests on the loader's own record
and guard), and anything that the platform alone asserts, such as aliases or payments.
"""
