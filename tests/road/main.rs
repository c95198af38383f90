//! End to end: the built binary, real MQTT clients, AWS JSON over HTTP, files on disk.

mod actions;
mod aws;
mod crash;
mod daemon;
mod device;
mod hostile;
mod publish;
mod rules;
mod sensor;
mod sessions;
mod start;
mod walkthrough;
