//! Configuration, launch, topology, status and commands of the Mugs pretraining pipeline.
