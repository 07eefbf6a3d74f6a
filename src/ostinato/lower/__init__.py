"""From Plan to the text of an LLVM module. Nothing here needs llvmlite."""
