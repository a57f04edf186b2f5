"""Experts in 4 bits: NF4 storage and products for the fused expert stacks, which plain 4-bit loading leaves in 16 bit."""
