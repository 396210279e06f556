"""Whether a model uses a found subspace as it seems to.

- `readers`: the linear maps that read a site next; `patches`: a subspace taken apart by what they see of it.
- `natural`: how far patched vectors are from those that the model makes by itself.
- `readout`: how much of a subspace is directions in which an answer is read out.
- `pathway`: what an interchange loses if hidden units stay where natural runs drive them.
- `agreement`: whether several seeds found one subspace.

Import from the modules: two of them are called like the function they are about. Formulas, and what each
number cannot say, are in `docs/diagnostics.md`.
"""
