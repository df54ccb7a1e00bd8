//! The compute stage: model, heads, losses, memory, optimizer, teacher, checkpoint and evaluation.
