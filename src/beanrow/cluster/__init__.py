"""The queue beyond one machine: a gateway that holds no job, over Redis or Valkey."""
