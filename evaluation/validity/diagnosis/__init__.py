"""What tells a variable that the model uses from an artefact of fitting; what a diagnosis says is
`evaluation.records.diagnosis`'s."""
