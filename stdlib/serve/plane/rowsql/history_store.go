package rowsql

import (
	"encoding/binary"
	"strings"
)

// entries are what a history keeps of rows, in little memory: each has cells of a fixed size, and
// its texts.
type entries struct {
	classes []class
	at      []int // of each cell, in bytes; of a text, in the texts of the entry
	size    int   // in bytes
	many    int   // texts: the key of the row, and its cells
	data    []byte
	texts   []string
	free    []uint32
	n       int
}

func (e *entries) layOut(w *window) {
	e.classes = w.cells
	e.size = 8 * ((len(w.cells) + 63) / 64) // bits that say which cells are null
	e.many = 1
	for _, c := range w.cells {
		switch sizeOf(c) {
		case 0:
			e.at = append(e.at, e.many)
			e.many++
		case 16:
			e.at = append(e.at, e.size)
			e.size += 16
		default:
			e.at = append(e.at, e.size)
			e.size += 8
		}
	}
}

func (e *entries) len() int   { return e.n - len(e.free) }
func (e *entries) bytes() int { return cap(e.data) + 16*cap(e.texts) + 4*cap(e.free) }

// take returns a new entry.
func (e *entries) take(self string) uint32 {
	var id uint32
	if last := len(e.free) - 1; last >= 0 {
		id, e.free = e.free[last], e.free[:last]
	} else {
		id = uint32(e.n)
		e.n++
		e.data = append(e.data, make([]byte, e.size)...)
		e.texts = append(e.texts, make([]string, e.many)...)
	}
	e.texts[int(id)*e.many] = self
	return id
}

// give frees an entry.
func (e *entries) give(id uint32) {
	clear(e.texts[int(id)*e.many : (int(id)+1)*e.many])
	e.free = append(e.free, id)
}

// self is the key of the row of an entry.
func (e *entries) self(id uint32) string { return e.texts[int(id)*e.many] }

func (e *entries) put(id uint32, cell int, v Value) {
	to := e.data[int(id)*e.size : (int(id)+1)*e.size]
	if v.Null {
		to[cell/8] |= 1 << (cell % 8)
		return
	}
	to[cell/8] &^= 1 << (cell % 8)
	switch sizeOf(e.classes[cell]) {
	case 0:
		e.texts[int(id)*e.many+e.at[cell]] = strings.Clone(v.Text)
	case 16:
		binary.LittleEndian.PutUint64(to[e.at[cell]:], v.Bits)
		binary.LittleEndian.PutUint64(to[e.at[cell]+8:], v.High)
	default:
		binary.LittleEndian.PutUint64(to[e.at[cell]:], v.Bits)
	}
}

func (e *entries) get(id uint32, cell int) (v Value) {
	from := e.data[int(id)*e.size : (int(id)+1)*e.size]
	if from[cell/8]&(1<<(cell%8)) != 0 {
		return Null
	}
	switch sizeOf(e.classes[cell]) {
	case 0:
		v.Text = e.texts[int(id)*e.many+e.at[cell]]
	case 16:
		v.Bits, v.High = binary.LittleEndian.Uint64(from[e.at[cell]:]), binary.LittleEndian.Uint64(from[e.at[cell]+8:])
	default:
		v.Bits = binary.LittleEndian.Uint64(from[e.at[cell]:])
	}
	return v
}
