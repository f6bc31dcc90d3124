"""Wrong numbers, kinds of JSON and dtypes, for headers."""

POWERS = [2**31 - 1, 2**31, 2**32 - 1, 2**45, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    8,
    63,
    64,
    65,
    255,
    4095,
    4096,
    16384,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**45,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
JUNK = [None, True, False, -1, 0, 1, 2**31, 2**64, 1.5, float("nan"), "", "|O", "<i8", "x" * 300, [], {}, [[]], "\ud800", [1] * 40]
DTYPES = [
    "|O", "O", "object", "|O8", "<O", "|V0", "|S0", "<U0", "|T16", "T", "i4,O", "(2,)O", "<i8,<i8", "i", "<i3", "<b1", "=i8",
    "f8", "<f3", "",
    "<U2147483648", "|S9999999999", "|V9999999999999", "<M8[xs]", "<M8[0s]", "M8[ns]", "<M8[99999999999s]",
    "<i8\n", "__import__('os')",
    ["|O", [2]], ["<i8", []], ["<i8", [0]], ["<i8", [-1]], ["<i8", [2**31]], ["<i8", [2**31, 2**31, 2**31]],
    ["<i8", [True]], ["<i8", [2**63]],
    ["<i8", [1] * 40], ["<i8", "2"], ["<i8"], [], ["<i8", [2], 3], None, 8, True, {"names": ["a"]}, {"base": "|O", "shape": [2]},
]  # fmt: skip


def fields(names=("a", "b"), formats=("<i8", "<i8"), offsets=(0, 8), itemsize=16, aligned=False, **more):
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize, "aligned": aligned} | more


def nested(n):
    description = "<i8"
    for _ in range(n):
        description = fields(["a"], [description], [0], 8)
    return description


DTYPES += [
    fields(formats=["<i8", "|O"]), fields(formats=["|O", "|O"]), fields(offsets=[0, 4]), fields(offsets=[0, 0]),
    fields(offsets=[0, -8]),
    fields(offsets=[0, 9]), fields(offsets=[0, 2**63]), fields(itemsize=8), fields(itemsize=-1), fields(itemsize=2**40),
    fields(itemsize="16"),
    fields(names=["a", "a"]), fields(names=["a", ""]), fields(names=["a"]), fields(names="ab"), fields(names=[1, 2]), fields(aligned=1),
    fields(titles=["x", "y"]), fields(metadata={"a": 1}), fields([], [], [], 8), fields(["a"], ["<i8"], [1], 9, True),
    fields(formats=["<i8", ["|O", [1]]]), fields(formats=["<i8", fields(formats=["|O", "<i8"])], itemsize=24),
    nested(40), nested(300),
    fields(["a"], ["|O"], [0], 8), fields(formats=None), fields(offsets=[True, 8]), fields(offsets=[0.0, 8]),
]  # fmt: skip
