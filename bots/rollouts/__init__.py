"""What is asked of the engines and what comes back: requests, rollouts, prompts, and the ledger of every task."""
