"""What Overfence costs, measured: `conversation.py` is the one to run."""
