"""One verb per file, pure: records and tensors in, records and tensors out; nothing prints, stores or reads a clock."""
