"""The teacher's side of distillation: who teaches, what is compared, and how it is weighted."""
