package rowsql

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An entry is a row of a lookup as bytes, for a store outside of this process.
//
// Its key has the values that a join compares, as appendKey writes them: equal values have
// equal bytes, and no key begins with another one. Of an ASOF join, eight bytes follow, which
// are in the order of the values of which it takes the nearest. Its row is version 1 of the
// encoding: the byte 1, a bit for each column that says whether it is null, and the other values in
// their order, little endian and as wide as the type; texts follow their length, a varint.

// EntryVersion is the encoding of entries, which the first byte of a row says.
const EntryVersion = 1

// OrderSize is what the value of an ASOF join takes at the end of a key.
const OrderSize = 8

// Outside says why the rows of a lookup cannot be in a store outside of the process, or "".
func (l *Lookup) Outside() string {
	if l.After == nil {
		return ""
	}
	if t, err := parseType(l.After.Type); err != nil || !ordered(t.class) {
		return fmt.Sprintf("its join takes the nearest value of the type %s, whose order a store does not have: only integers, dates and times have it", l.After.Type)
	}
	return ""
}

// ordered reports whether eight bytes have the order of the values of a class.
func ordered(c class) bool {
	return c.signed() || c.unsigned() || c == date || c == timeOfDay || c == timestamp || c == timestamptz
}

func appendOrdered(b []byte, v Value, c class) []byte {
	if !c.unsigned() {
		v.Bits ^= 1 << 63
	}
	return binary.BigEndian.AppendUint64(b, v.Bits)
}

func orderedValue(b []byte, c class) Value {
	v := Value{Bits: binary.BigEndian.Uint64(b)}
	if !c.unsigned() {
		v.Bits ^= 1 << 63
	}
	return v
}

// A rowCodec writes and reads rows of some types.
type rowCodec []class

func (c rowCodec) append(b []byte, row []Value) []byte {
	b = append(b, EntryVersion)
	nulls := len(b)
	b = append(b, make([]byte, (len(c)+7)/8)...)
	for i, class := range c {
		v := &row[i]
		if v.Null {
			b[nulls+i/8] |= 1 << (i % 8)
			continue
		}
		switch sizeOf(class) {
		case 0:
			b = append(binary.AppendUvarint(b, uint64(len(v.Text))), v.Text...)
		case 1:
			b = append(b, byte(v.Bits))
		case 2:
			b = binary.LittleEndian.AppendUint16(b, uint16(v.Bits))
		case 4:
			b = binary.LittleEndian.AppendUint32(b, uint32(v.Bits))
		case 8:
			b = binary.LittleEndian.AppendUint64(b, v.Bits)
		case 16:
			b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, v.Bits), v.High)
		}
	}
	return b
}

var errDamaged = errors.New("a row of the store is damaged")

func (c rowCodec) read(b []byte) ([]Value, error) {
	nulls := 1 + (len(c)+7)/8
	if len(b) < nulls || b[0] != EntryVersion {
		return nil, errDamaged
	}
	row, rest := make([]Value, len(c)), b[nulls:]
	for i, class := range c {
		v := &row[i]
		if b[1+i/8]&(1<<(i%8)) != 0 {
			v.Null = true
			continue
		}
		size := sizeOf(class)
		if size == 0 {
			n, read := binary.Uvarint(rest)
			if read <= 0 || n > uint64(len(rest)-read) {
				return nil, errDamaged
			}
			v.Text, rest = string(rest[read:read+int(n)]), rest[read+int(n):]
			continue
		}
		if len(rest) < size {
			return nil, errDamaged
		}
		readFixed(v, rest, class, size)
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return nil, errDamaged
	}
	return row, nil
}

// readFixed reads a value, little endian.
func readFixed(v *Value, b []byte, c class, size int) {
	switch size {
	case 1:
		if v.Bits = uint64(b[0]); c == tinyint {
			v.Bits = uint64(int8(b[0]))
		}
	case 2:
		x := binary.LittleEndian.Uint16(b)
		if v.Bits = uint64(x); c == smallint {
			v.Bits = uint64(int16(x))
		}
	case 4:
		x := binary.LittleEndian.Uint32(b)
		if v.Bits = uint64(x); c == integer {
			v.Bits = uint64(int32(x))
		}
	case 8:
		v.Bits = binary.LittleEndian.Uint64(b)
	case 16:
		v.Bits, v.High = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	}
}

func (x *lookup) codec() (rowCodec, error) {
	var c rowCodec
	for _, o := range x.plan.Outputs {
		t, err := parseType(o.Type)
		if err != nil {
			return nil, err
		}
		c = append(c, t.class)
	}
	return c, nil
}

// Entries make the entries of a lookup from the rows of its table.
type Entries struct {
	rows     *RowsBuilder
	codec    rowCodec
	after    class
	key, row []byte
}

// NewEntries returns what makes the entries of a lookup of the plan.
func (p *Program) NewEntries(lookup int) (*Entries, error) {
	x := p.lookups[lookup]
	if says := x.plan.Outside(); says != "" {
		return nil, errors.New(says)
	}
	rows, err := p.NewRows(lookup, 0)
	if err != nil {
		return nil, err
	}
	e := &Entries{rows: rows}
	if e.codec, err = x.codec(); err != nil {
		return nil, err
	}
	if x.after != nil {
		t, _ := parseType(x.plan.After.Type)
		e.after = t.class
	}
	return e, nil
}

// Entry returns the entry of a row of the table, which is valid until the next call. There is
// none if no request can find the row.
func (e *Entries) Entry(in []Value) (key, row []byte, found bool, err error) {
	b := e.rows
	if found, err = b.compute(in); err != nil || !found {
		return nil, nil, false, err
	}
	e.key = append(e.key[:0], b.text...)
	if b.lookup.after != nil {
		e.key = appendOrdered(e.key, b.value[0], e.after)
	}
	e.row = e.codec.append(e.row[:0], b.key.slots)
	return e.key, e.row, true, nil
}
