"""Native code: a Plan becomes LLVM code, machine code in memory, or an object file. Only this package imports llvmlite."""
