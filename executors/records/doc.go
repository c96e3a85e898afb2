// Package records writes the units that are records: entries of the registry of models, and
// files with the rules of objectives. The input is a unit with what it reads
// ([executors.Record]), the result its outputs. Package executors decides when a record is
// written and removed, and journals it; it knows neither the registry nor the files.
package records
