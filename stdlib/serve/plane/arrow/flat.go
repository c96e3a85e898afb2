package arrow

import (
	"encoding/binary"
	"unsafe"
)

// A table is a table of a flatbuffer. Positions are checked by Go when they are used: damage is
// a panic, which Read recovers from. There is no recursion, and a vector is not longer than
// its bytes, so damage ends soon, too.
type table struct {
	b  []byte
	at int
}

// root is the table of a flatbuffer.
func root(b []byte) table { return table{b, int(binary.LittleEndian.Uint32(b))} }

// field returns the position of a field, by its number in the schema, or 0 if it is not there.
func (t table) field(n int) int {
	fields := t.at - int(int32(binary.LittleEndian.Uint32(t.b[t.at:])))
	size, at := int(binary.LittleEndian.Uint16(t.b[fields:])), 4+2*n
	if at+2 > size {
		return 0
	}
	offset := int(binary.LittleEndian.Uint16(t.b[fields+at:]))
	if offset == 0 {
		return 0
	}
	return t.at + offset
}

func (t table) byte(n int) byte {
	if at := t.field(n); at != 0 {
		return t.b[at]
	}
	return 0
}

func (t table) int16(n int) int {
	if at := t.field(n); at != 0 {
		return int(int16(binary.LittleEndian.Uint16(t.b[at:])))
	}
	return 0
}

func (t table) int32(n int) int {
	if at := t.field(n); at != 0 {
		return int(int32(binary.LittleEndian.Uint32(t.b[at:])))
	}
	return 0
}

func (t table) int64(n int) int64 {
	if at := t.field(n); at != 0 {
		return int64(binary.LittleEndian.Uint64(t.b[at:]))
	}
	return 0
}

// follow returns the position that the offset at a position says.
func (t table) follow(at int) int { return at + int(binary.LittleEndian.Uint32(t.b[at:])) }

// table returns the table of a field, and whether it is there.
func (t table) table(n int) (table, bool) {
	at := t.field(n)
	if at == 0 {
		return table{}, false
	}
	return table{t.b, t.follow(at)}, true
}

// vector returns the position of the first item of a vector, and how many items of a size it has.
func (t table) vector(n, size int) (first, length int) {
	at := t.field(n)
	if at == 0 {
		return 0, 0
	}
	at = t.follow(at)
	length = int(binary.LittleEndian.Uint32(t.b[at:]))
	_ = t.b[at+4 : at+4+length*size]
	return at + 4, length
}

func (t table) text(n int) string {
	at, length := t.vector(n, 1)
	return str(t.b[at : at+length])
}

// str is bytes as a string, without a copy.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
