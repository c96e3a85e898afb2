// Package arrow reads and writes rows as streams of Apache Arrow's IPC format: a schema, record
// batches and the end of the stream. Readers admit and refuse values by the rules for the JSON
// body of a request, whatever the width of their type, and take no more memory than their limits
// allow. A stream that is damaged is an error: bytes come from strangers.
//
// It has no nested types, no compression, and dictionaries only of texts. It does not use
// Arrow's own library, which trusts the lengths in a stream: a few bytes make it allocate
// gigabytes or follow a field into itself until the stack ends, which no caller can recover
// from. Tests compare both.
package arrow
