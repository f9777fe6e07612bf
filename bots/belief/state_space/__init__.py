"""A state-space belief: logits of cells, coefficients of features and the drift of training in one filter."""
