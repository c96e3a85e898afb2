package rowsql

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"unsafe"
)

// Columns are many rows in little memory: a value takes as many bytes as its type needs. A row
// is in one place, so that it is read with few cache misses.
type Columns struct {
	columns []packed
	size    int    // of a row in data, in bytes
	data    []byte // of each row, bits that say which values are null, and the values
	texts   []byte
	rows    int
}

// packed says where a value is in a row. It is little endian, or a place in the texts.
type packed struct {
	class class
	at    int
	size  int // in bytes; 0 is text
}

// textSize is what a text takes in a row: where it begins, and its length.
const textSize = 8 + 4

// mostText is the longest text in bytes.
const mostText = 1<<32 - 1

// NewColumns returns memory for rows of DuckDB's types. rows is how many there may be.
func NewColumns(types []string, rows int) (*Columns, error) {
	c := &Columns{size: (len(types) + 7) / 8}
	for _, name := range types {
		t, err := parseType(name)
		if err != nil {
			return nil, err
		}
		p := packed{class: t.class, at: c.size, size: sizeOf(t.class)}
		if c.size += p.size; p.size == 0 {
			c.size += textSize
		}
		c.columns = append(c.columns, p)
	}
	c.data = make([]byte, 0, rows*c.size)
	return c, nil
}

func sizeOf(c class) int {
	switch c {
	case null, boolean, tinyint, utinyint:
		return 1
	case smallint, usmallint:
		return 2
	case integer, uinteger, float:
		return 4
	case hugeint, decimal, intervals:
		return 16
	case varchar, blob:
		return 0
	}
	return 8
}

// Len is the number of rows.
func (c *Columns) Len() int { return c.rows }

// Size is the memory of the rows in bytes.
func (c *Columns) Size() int { return cap(c.data) + cap(c.texts) }

// Append adds a row. A text of 4 GiB or more is an error.
func (c *Columns) Append(row []Value) error {
	from := len(c.data)
	c.data = slices.Grow(c.data, c.size)[:from+c.size]
	to := c.data[from:]
	clear(to)
	for i, p := range c.columns {
		v := &row[i]
		if v.Null {
			to[i/8] |= 1 << (i % 8)
			continue
		}
		field := to[p.at:]
		switch p.size {
		case 0:
			if len(v.Text) > mostText {
				return fmt.Errorf("a text has more than %d bytes", mostText)
			}
			binary.LittleEndian.PutUint64(field, uint64(len(c.texts)))
			binary.LittleEndian.PutUint32(field[8:], uint32(len(v.Text)))
			c.texts = append(c.texts, v.Text...)
		case 1:
			field[0] = byte(v.Bits)
		case 2:
			binary.LittleEndian.PutUint16(field, uint16(v.Bits))
		case 4:
			binary.LittleEndian.PutUint32(field, uint32(v.Bits))
		case 8:
			binary.LittleEndian.PutUint64(field, v.Bits)
		case 16:
			binary.LittleEndian.PutUint64(field, v.Bits)
			binary.LittleEndian.PutUint64(field[8:], v.High)
		}
	}
	c.rows++
	return nil
}

// Row fills a row. Its texts are part of the memory of the columns.
func (c *Columns) Row(i int, row []Value) {
	from := c.data[i*c.size : (i+1)*c.size]
	for j := range c.columns {
		c.get(from, j, &row[j])
	}
}

// Value is one value of a row.
func (c *Columns) Value(row, column int) (v Value) {
	c.get(c.data[row*c.size:(row+1)*c.size], column, &v)
	return v
}

// get reads a value of a row.
func (c *Columns) get(row []byte, column int, v *Value) {
	*v = Value{}
	if row[column/8]&(1<<(column%8)) != 0 {
		v.Null = true
		return
	}
	p := &c.columns[column]
	field := row[p.at:]
	switch p.size {
	case 0:
		at, n := binary.LittleEndian.Uint64(field), binary.LittleEndian.Uint32(field[8:])
		v.Text = unsafe.String(unsafe.SliceData(c.texts[at:]), n)
	case 1:
		if v.Bits = uint64(field[0]); p.class == tinyint {
			v.Bits = uint64(int8(field[0]))
		}
	case 2:
		x := binary.LittleEndian.Uint16(field)
		if v.Bits = uint64(x); p.class == smallint {
			v.Bits = uint64(int16(x))
		}
	case 4:
		x := binary.LittleEndian.Uint32(field)
		if v.Bits = uint64(x); p.class == integer {
			v.Bits = uint64(int32(x))
		}
	case 8:
		v.Bits = binary.LittleEndian.Uint64(field)
	case 16:
		v.Bits, v.High = binary.LittleEndian.Uint64(field), binary.LittleEndian.Uint64(field[8:])
	}
}

// fit gives back memory that was not needed.
func (c *Columns) fit() { c.data, c.texts = fit(c.data), fit(c.texts) }

func fit[T any](s []T) []T {
	if cap(s)-len(s) > len(s)/8 {
		return slices.Clip(slices.Concat(s))
	}
	return s
}

// An Index numbers keys, which are any bytes, from 0 on in little memory.
type Index struct {
	seed  maphash.Seed
	slots []uint32 // the number of a key + 1; 0 is free
	bytes []byte
	ends  []int
}

// mostKeys is how many keys an index has.
const mostKeys = 1<<32 - 2

// NewIndex returns memory for keys.
func NewIndex() *Index { return &Index{seed: maphash.MakeSeed(), slots: make([]uint32, 16)} }

// Len is the number of keys.
func (x *Index) Len() int { return len(x.ends) }

// Size is the memory of the keys in bytes.
func (x *Index) Size() int { return 4*cap(x.slots) + cap(x.bytes) + 8*cap(x.ends) }

// Key is the key of a number.
func (x *Index) Key(number int) []byte {
	from := 0
	if number > 0 {
		from = x.ends[number-1]
	}
	return x.bytes[from:x.ends[number]]
}

// Find returns the number of a key, or -1.
func (x *Index) Find(key []byte) int {
	_, n := x.find(key)
	return n
}

// find returns the slot of a key, or the one for it.
func (x *Index) find(key []byte) (slot uint64, number int) {
	last := uint64(len(x.slots) - 1)
	for slot = maphash.Bytes(x.seed, key) & last; ; slot = (slot + 1) & last {
		n := x.slots[slot]
		if n == 0 {
			return slot, -1
		}
		if string(x.Key(int(n-1))) == string(key) {
			return slot, int(n - 1)
		}
	}
}

// Add returns the number of a key, and whether it is new.
func (x *Index) Add(key []byte) (number int, added bool, err error) {
	slot, n := x.find(key)
	if n >= 0 {
		return n, false, nil
	}
	if len(x.ends) == mostKeys {
		return 0, false, fmt.Errorf("there are more than %d keys", mostKeys)
	}
	x.bytes = append(x.bytes, key...)
	x.ends = append(x.ends, len(x.bytes))
	x.slots[slot] = uint32(len(x.ends))
	if 3*len(x.slots) < 4*len(x.ends) { // at most three quarters are taken
		x.slots = make([]uint32, 2*len(x.slots))
		for i := range x.ends {
			slot, _ := x.find(x.Key(i))
			x.slots[slot] = uint32(i + 1)
		}
	}
	return len(x.ends) - 1, true, nil
}
