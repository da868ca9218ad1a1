"""From a log to the other side's log: sealing batches, choosing a path, taking in what arrives."""
