// Package request reads the body of a prediction request,
//
//	{"instances": [{"column": value, ...}, ...]}
//
// into typed rows, by the columns that the caller sends. Every value is exact or refused
// with its place: an integer that the type does not hold, a number that is not finite, half of
// a surrogate pair, a field that comes twice or that nobody knows. What it costs is bounded by
// the size of the body, and no error repeats a value of the request.
package request
