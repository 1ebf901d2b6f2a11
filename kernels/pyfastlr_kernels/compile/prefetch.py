"""A hint for the processor: these bytes will be written soon."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64, _I32 = ir.IntType(64), ir.IntType(32)


@intrinsic
def prefetch(typingctx, address):
    """Fetch the cache line at the address, to be written. No address is wrong."""

    def code(context, builder, sig, args):
        byte = ir.PointerType(ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(fetch, [builder.inttoptr(args[0], byte), _I32(1), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(address), code
