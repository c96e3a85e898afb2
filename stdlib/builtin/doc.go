// Package builtin lists the components that are written in Go, on DuckDB.
//
// It is what the rest of Tenon has to know of them: names and versions. Package
// builtin/components is their code, which the program tenon-duck runs as "tenon-duck
// step"; it links DuckDB, and this package does not.
package builtin
