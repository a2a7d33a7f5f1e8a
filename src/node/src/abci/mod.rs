//! CometBFT: the driver behind the ABCI.
