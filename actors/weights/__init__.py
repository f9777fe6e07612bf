"""How policy versions get from the learner to the engines."""
