"""What is optimised: named terms over one step, and the kernels they share."""
