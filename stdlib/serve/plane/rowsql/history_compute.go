package rowsql

// compute fills the values of a window for a row, which has an order and contributes values
// itself.
func (h *History) compute(r *Row, order, own []Value) {
	w := h.w
	var s *series
	before, others := 0, false
	if n := h.index.Find(r.key); n >= 0 {
		s = &h.series[n]
		before = h.position(s, order)
		for i := before; i < len(s.ids) && h.comparedAt(s.ids[i], order) == 0; i++ {
			if self := h.store.self(s.ids[i]); self == "" || self != string(r.self) {
				others = true
			}
		}
	} else {
		s = &series{}
	}
	for i := range w.values {
		v := &w.values[i]
		if others && v.Ordered {
			r.fail(sameOrder)
			return
		}
		x, ok := h.value(v, s, before, r, order[0], own[i])
		if !ok {
			if r.err == nil {
				r.fail(h.tooLate(s, v.At))
			}
			return
		}
		r.slots[v.Slot] = x
	}
}

// value computes one value. It is not ok if it needs rows that are no longer kept.
func (h *History) value(v *windowValue, s *series, before int, r *Row, at, own Value) (Value, bool) {
	if h.partial && !v.bounded {
		return Null, false
	}
	switch v.Func {
	case "row_number":
		if before == 0 {
			return Int(1), !s.cut
		}
		return Int(h.store.get(s.ids[before-1], v.cell).Int() + 1), true
	case "lag":
		switch i := before - int(v.Offset); {
		case v.Offset == 0:
			return own, true
		case i >= 0:
			return h.store.get(s.ids[i], v.cell), true
		case s.cut:
			return Null, false
		case v.otherwise != nil:
			return v.otherwise(r), true
		}
		return Null, true
	}
	from, to, ok := h.frame(v, s, before, r, at)
	if !ok {
		return Null, false
	}
	switch v.Func {
	case "first":
		switch {
		case from < to && v.total:
			return h.store.get(s.ids[to-1], v.cell), true
		case from < to:
			return h.store.get(s.ids[from], v.cell), true
		case v.Current:
			return own, true
		}
		return Null, true
	case "last":
		switch {
		case v.Current:
			return own, true
		case from < to:
			return h.store.get(s.ids[to-1], v.cell), true
		}
		return Null, true
	case "min", "max":
		return h.extreme(v, s, from, to, own), true
	}
	return h.sum(v, s, from, to, own), true
}

// extreme computes the least or the greatest value.
func (h *History) extreme(v *windowValue, s *series, from, to int, own Value) Value {
	best := Null
	if v.total && from < to {
		best = h.store.get(s.ids[to-1], v.cell)
	} else if !v.total {
		for _, id := range s.ids[from:to] {
			best = v.better(best, h.store.get(id, v.cell))
		}
	}
	if v.Current {
		best = v.better(best, own)
	}
	return best
}

// sum computes a sum, a mean or a count as a difference of two totals.
func (h *History) sum(v *windowValue, s *series, from, to int, own Value) Value {
	var sum int128
	n, counts := int64(0), v.Func == "count"
	add := func(i int, sign int64) {
		if i < 0 {
			return
		}
		total := h.store.get(s.ids[i], v.cell)
		if counts {
			n += sign * total.Int()
			return
		}
		n += sign * h.store.get(s.ids[i], v.cell+1).Int()
		x := total.int128()
		if sign < 0 {
			x = x.neg()
		}
		sum, _ = sum.add(x)
	}
	if from < to {
		add(to-1, 1)
		if v.start != nil || v.Rows >= 0 {
			add(from-1, -1)
		}
	}
	if v.Current && !own.Null {
		n++
		if !counts {
			sum, _ = sum.add(own.int128())
		}
	}
	return v.finish(sum, n)
}

// frame returns which of the rows before a row count.
func (h *History) frame(v *windowValue, s *series, before int, r *Row, at Value) (from, to int, ok bool) {
	missing := false
	bound := func(f eval, equal bool) int {
		b := f(r)
		if r.err == nil && (b.Null || b.Int() > at.Int() || equal && b.Int() == at.Int()) {
			r.fail(&Error{Message: "the RANGE of a window begins after the row, or ends with it: write CURRENT ROW", Offset: v.At, Refused: true})
		}
		missing = missing || r.err == nil && h.misses(b.Int())
		low, high := 0, before
		for low < high {
			mid := int(uint(low+high) >> 1)
			if x := h.store.get(s.ids[mid], 0).Int(); x < b.Int() || equal && x == b.Int() {
				low = mid + 1
			} else {
				high = mid
			}
		}
		return low
	}
	to = before - int(v.Skip)
	if v.end != nil {
		to = bound(v.end, true)
	}
	bounded := v.start != nil || v.Rows >= 0
	switch {
	case v.start != nil:
		from = bound(v.start, false)
	case v.Rows >= 0:
		from = before - int(v.Rows)
	}
	if r.err != nil {
		return 0, 0, false
	}
	if missing || s.cut && (bounded && from <= 0 || !bounded && to <= 0) {
		return 0, 0, false
	}
	from = max(from, 0)
	return from, max(from, to), true
}
