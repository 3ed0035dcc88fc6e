"""ChunkPaxos: registers agreed on by the storage nodes themselves, without a leader."""
