//! The pod brain: one owner per pod, container plans, state, recovery, events, leak accounting.
