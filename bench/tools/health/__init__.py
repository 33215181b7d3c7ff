"""Whether a model can be trained: its first loss, its gradients, its units, a batch by heart."""
