"""Device memory by address: numbers, and 128-bit lines of four float32 or two float64.

Addresses are int64, as on the CPU (intrinsics.py). A rule's state is a tuple of addresses. A load of lines from them
gives a tuple with one item per element of a line, each a tuple over the state arrays, so a kernel is written once for
any number of states. Every access is declared to be in the global space, which the compiler cannot infer for an address
from a table, and every line to be aligned, so that it becomes one LDG.E.128.
"""

from llvmlite import ir
from numba.core import cgutils

from .compiler import intrinsic, types
from .tables import LINE

_I64, _I32, _DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()
_GLOBAL = 1  # address space


def _pointer(builder, address, kind):
    generic = builder.inttoptr(address, kind.as_pointer())
    return builder.addrspacecast(generic, ir.PointerType(kind, _GLOBAL))


def _vector(context, like):
    return ir.VectorType(context.get_value_type(like), LINE * 8 // like.bitwidth)


def _line(like):
    return types.UniTuple(like, LINE * 8 // like.bitwidth)


def _tuple(of, k):
    return types.UniTuple(of, k) if k else types.Tuple(())


def _places(builder, starts, offset, k, kind):
    """Pointers `offset` bytes after each start."""
    return [_pointer(builder, builder.add(builder.extract_value(starts, j), offset), kind) for j in range(k)]


def _split(context, builder, vector, result):
    items = [builder.extract_element(vector, _I32(j)) for j in range(vector.type.count)]
    return context.make_tuple(builder, result, items)


def _join(builder, items, kind):
    vector = ir.Constant(kind, ir.Undefined)
    for j, item in enumerate(items):
        vector = builder.insert_element(vector, item, _I32(j))
    return vector


def _items(builder, value, n):
    return [builder.extract_value(value, j) for j in range(n)]


@intrinsic
def word(typingctx, address):
    """The int64 at the address."""
    return types.int64(types.int64), lambda context, builder, sig, args: builder.load(
        _pointer(builder, args[0], _I64), align=8
    )


@intrinsic
def words(typingctx, address, like):
    """Tuple of int64 at the address, as many as there are numbers in `like`."""
    k = len(like)
    result = _tuple(types.int64, k)

    def code(context, builder, sig, args):
        base = _pointer(builder, args[0], _I64)
        return context.make_tuple(builder, result, [builder.load(builder.gep(base, [_I64(j)])) for j in range(k)])

    return result(types.int64, like), code


@intrinsic
def put_word(typingctx, address, value):
    """Store an int64."""

    def code(context, builder, sig, args):
        builder.store(args[1], _pointer(builder, args[0], _I64), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def numbers(typingctx, address, like):
    """Numbers at the address, as many and of the same types as in `like`."""
    k = len(like)

    def code(context, builder, sig, args):
        if not k:
            return context.make_tuple(builder, like, [])
        base = _pointer(builder, args[0], context.get_value_type(like.dtype))
        return context.make_tuple(builder, like, [builder.load(builder.gep(base, [_I64(j)])) for j in range(k)])

    return like(types.int64, like), code


@intrinsic
def put_numbers(typingctx, address, values, like):
    """Store float64 numbers at the address, rounded to the type of `like`."""
    k = len(values)

    def code(context, builder, sig, args):
        kind = context.get_value_type(like)
        base = _pointer(builder, args[0], kind)
        for j, x in enumerate(_items(builder, args[1], k)):
            builder.store(x if kind == _DOUBLE else builder.fptrunc(x, kind), builder.gep(base, [_I64(j)]))
        return context.get_dummy_value()

    return types.void(types.int64, values, like), code


@intrinsic
def load(typingctx, address, like):
    """Number at the address, of the type of `like`."""
    return like(types.int64, like), lambda context, builder, sig, args: builder.load(
        _pointer(builder, args[0], context.get_value_type(like)), align=like.bitwidth // 8
    )


@intrinsic
def store(typingctx, address, value):
    """Store a number."""

    def code(context, builder, sig, args):
        builder.store(args[1], _pointer(builder, args[0], args[1].type), align=value.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, value), code


@intrinsic
def load_line(typingctx, address, like):
    """Tuple of the numbers of a line."""
    result = _line(like)

    def code(context, builder, sig, args):
        vector = builder.load(_pointer(builder, args[0], _vector(context, like)), align=LINE)
        return _split(context, builder, vector, result)

    return result(types.int64, like), code


@intrinsic
def store_line(typingctx, address, line):
    """Store the numbers of a line."""

    def code(context, builder, sig, args):
        kind = _vector(context, line.dtype)
        vector = _join(builder, _items(builder, args[1], kind.count), kind)
        builder.store(vector, _pointer(builder, args[0], kind), align=LINE)
        return context.get_dummy_value()

    return types.void(types.int64, line), code


@intrinsic
def load_each(typingctx, starts, offset, like):
    """Number `offset` bytes after each start."""
    k = len(starts)
    result = _tuple(like, k)

    def code(context, builder, sig, args):
        places = _places(builder, *args[:2], k, context.get_value_type(like))
        return context.make_tuple(builder, result, [builder.load(x, align=like.bitwidth // 8) for x in places])

    return result(starts, types.int64, like), code


@intrinsic
def store_each(typingctx, starts, offset, values):
    """Store a number `offset` bytes after each start."""
    k = len(starts)

    def code(context, builder, sig, args):
        kind = context.get_value_type(values.dtype) if k else _I64
        for place, value in zip(_places(builder, *args[:2], k, kind), _items(builder, args[2], k), strict=True):
            builder.store(value, place, align=values.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(starts, types.int64, values), code


@intrinsic
def load_lines(typingctx, starts, offset, like):
    """For each element of a line, its numbers in all arrays, `offset` bytes after each array's start."""
    k, of_element = len(starts), _tuple(like, len(starts))
    result = types.UniTuple(of_element, LINE * 8 // like.bitwidth)

    def code(context, builder, sig, args):
        kind = _vector(context, like)
        lines = [builder.load(x, align=LINE) for x in _places(builder, *args[:2], k, kind)]
        elements = [
            context.make_tuple(builder, of_element, [builder.extract_element(line, _I32(j)) for line in lines])
            for j in range(kind.count)
        ]
        return context.make_tuple(builder, result, elements)

    return result(starts, types.int64, like), code


@intrinsic
def store_lines(typingctx, starts, offset, elements, like):
    """Store what `load_lines` loads."""
    k = len(starts)

    def code(context, builder, sig, args):
        kind = _vector(context, like)
        columns = [_items(builder, x, k) for x in _items(builder, args[2], kind.count)]
        for j, place in enumerate(_places(builder, *args[:2], k, kind)):
            builder.store(_join(builder, [column[j] for column in columns], kind), place, align=LINE)
        return context.get_dummy_value()

    return types.void(starts, types.int64, elements, like), code


@intrinsic
def differing(typingctx, addresses, address):
    """Bits in which any of the addresses differs from `address`."""

    def code(context, builder, sig, args):
        bits = _I64(0)
        for x in _items(builder, args[0], len(addresses)):
            bits = builder.or_(bits, builder.xor(x, args[1]))
        return bits

    return types.int64(addresses, types.int64), code


@intrinsic
def moved(typingctx, starts, offset):
    """The addresses, each plus `offset` bytes."""

    def code(context, builder, sig, args):
        out = [builder.add(x, args[1]) for x in _items(builder, args[0], len(starts))]
        return context.make_tuple(builder, starts, out)

    return starts(starts, types.int64), code


@intrinsic
def uncounted(typingctx, i):
    """Return an index, hidden from the optimizer, which unrolls no loop that it cannot count (73 registers, not 80)."""

    def code(context, builder, sig, args):
        same = ir.InlineAsm(ir.FunctionType(_I64, [_I64]), "", "=l,0", side_effect=True)
        return builder.call(same, args)

    return types.int64(types.int64), code


@intrinsic
def repeated(typingctx, x, like):
    """Line with the same number in each place."""
    result = _line(like)

    def code(context, builder, sig, args):
        return context.make_tuple(builder, result, [args[0]] * len(result))

    return result(x, like), code


@intrinsic
def scaled(typingctx, numbers, k):
    """Each of the numbers times k."""

    def code(context, builder, sig, args):
        out = [builder.fmul(x, args[1]) for x in _items(builder, args[0], len(numbers))]
        return context.make_tuple(builder, numbers, out)

    return numbers(numbers, k), code


def _rounded(builder, name, args):
    """Call one of NVVM's float64 operations that are never contracted."""
    double = ir.DoubleType()
    kind = ir.FunctionType(double, [double] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def add_exactly(typingctx, a, b):
    """Sum of two float64, rounded by itself."""
    return a(a, b), lambda context, builder, sig, args: _rounded(builder, "llvm.nvvm.add.rn.d", args)


@intrinsic
def square_exactly(typingctx, x):
    """Square in float64, rounded by itself."""

    def code(context, builder, sig, args):
        wide = context.cast(builder, args[0], x, types.float64)
        return _rounded(builder, "llvm.nvvm.mul.rn.d", [wide, wide])

    return types.float64(x), code


@intrinsic
def add_word(typingctx, address, value):
    """Add to an int64 that other threads may add to as well."""

    def code(context, builder, sig, args):
        builder.atomic_rmw("add", _pointer(builder, args[0], _I64), args[1], "monotonic")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code
