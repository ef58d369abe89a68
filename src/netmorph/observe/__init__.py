"""What a network computes on batches, seen from its graph; `netmorph.Samples` leads here."""
