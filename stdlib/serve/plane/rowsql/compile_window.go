package rowsql

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// A boundWindow is what a BOUND_WINDOW has beside what other expressions have.
type boundWindow struct {
	Partitions []*boundExpr `json:"partitions"`
	Orders     []struct {
		Type       string     `json:"type"`
		Expression *boundExpr `json:"expression"`
	} `json:"orders"`
	Filters     *boundExpr      `json:"filters"`
	Start       string          `json:"start"`
	End         string          `json:"end"`
	StartExpr   *boundExpr      `json:"start_expr"`
	EndExpr     *boundExpr      `json:"end_expr"`
	OffsetExpr  *boundExpr      `json:"offset_expr"`
	DefaultExpr *boundExpr      `json:"default_expr"`
	Exclude     string          `json:"exclude_clause"`
	IgnoreNulls bool            `json:"ignore_nulls"`
	Distinct    bool            `json:"distinct"`
	ArgOrders   json.RawMessage `json:"arg_orders"`
}

// window adds the values of a node's windows.
func (r *relation) window(n *boundPlan) ([]column, error) {
	in, err := r.compile(n.Children[0])
	if err != nil {
		return nil, err
	}
	cols := in[:len(in):len(in)]
	for _, x := range n.Expressions {
		w, err := r.windowOf(x, in)
		if err == nil {
			err = w.refusal()
		}
		if err == nil {
			w.Values[0].Slot = r.slots
			b := r.builder(r.lookups...)
			b.slots = append(slices.Clone(r.types), "") // which the window computes
			_, err = b.window(w)
		}
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			typ, err := x.Return.name()
			if err != nil {
				typ = "NULL"
			}
			cols = append(cols, column{x.Alias, refusedExpr(refusal, typ, x.reads(in)...)})
			continue
		} else if err != nil {
			return nil, err
		}
		v := &w.Values[0]
		v.Name = x.Alias
		r.slots++
		r.types = append(r.types, v.Type)
		cols = append(cols, column{x.Alias, &Expr{Op: "slot", Type: v.Type, Index: v.Slot, At: v.At}})
		r.addWindow(w)
	}
	return cols, nil
}

// refusal is why a part of a window cannot be computed, or nil.
func (w *Window) refusal() error {
	for _, e := range w.exprs() {
		if r := e.refusedBy(); r != nil {
			return r
		}
	}
	return nil
}

// addWindow adds a window to one over the same rows, if there is one since the last step of
// another kind.
func (r *relation) addWindow(w *Window) {
	for i := len(r.steps) - 1; i >= 0 && r.steps[i].Window != nil; i-- {
		if have := r.steps[i].Window; slices.EqualFunc(have.Partition, w.Partition, alike) && slices.EqualFunc(have.Order, w.Order, alike) {
			have.Values = append(have.Values, w.Values...)
			return
		}
	}
	r.steps = append(r.steps, Step{Window: w})
}

// windowFuncs are the functions of windows by their name, or their type if they are no
// aggregates.
var windowFuncs = map[string]string{
	"count": "count", "count_star": "count", "sum": "sum", "avg": "avg", "mean": "avg", "min": "min", "max": "max",
	"WINDOW_FIRST_VALUE": "first", "WINDOW_LAST_VALUE": "last", "WINDOW_LAG": "lag", "WINDOW_ROW_NUMBER": "row_number",
}

// A windowExpr compiles one window.
type windowExpr struct {
	*boundExpr
	in []column
	at int
	c  *compiler
}

func (r *relation) windowOf(x *boundExpr, in []column) (*Window, error) {
	c := &windowExpr{boundExpr: x, in: in, at: x.place(), c: r.c}
	name := x.Type
	if name == "WINDOW_AGGREGATE" {
		name = strings.ToLower(x.Name)
	}
	v := WindowValue{Func: windowFuncs[name], Rows: -1, At: c.at}
	switch {
	case x.Type == "WINDOW_LEAD":
		return nil, refuse(c.at, "a window that looks ahead, lead, is not computed for one row: the rows after it are not known yet")
	case v.Func == "":
		return nil, refuse(c.at, "the window function %s is not computed for one row", strings.ToLower(strings.TrimPrefix(name, "WINDOW_")))
	case x.Distinct || x.IgnoreNulls || len(x.ArgOrders) > 0 && string(x.ArgOrders) != "[]" && string(x.ArgOrders) != "null":
		return nil, refuse(c.at, "a window function with DISTINCT, IGNORE NULLS or ORDER BY among its arguments is not computed for one row")
	case len(x.Children) > 1:
		return nil, refuse(c.at, "the window function %s with several arguments is not computed for one row", v.Func)
	}
	var err error
	if v.Type, err = x.Return.name(); err != nil {
		return nil, refuse(c.at, "%v", err)
	}
	w := &Window{}
	if err := c.rows(w); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		from *boundExpr
		to   **Expr
	}{{c.child(), &v.Arg}, {x.Filters, &v.Filter}, {x.DefaultExpr, &v.Default}} {
		if part.from == nil {
			continue
		}
		if *part.to, err = c.c.expression(part.from, in); err != nil {
			return nil, err
		}
	}
	switch v.Func {
	case "lag":
		if v.Offset = 1; x.OffsetExpr != nil {
			if v.Offset, err = c.count(x.OffsetExpr); err != nil {
				return nil, err
			}
		}
		v.Ordered = true
	case "row_number":
		v.Ordered = true
	default:
		err = c.frame(&v, w.Order[0])
		v.Ordered = v.Ordered || v.Func == "first" || v.Func == "last"
	}
	w.Values = []WindowValue{v}
	return w, err
}

func (c *windowExpr) child() *boundExpr {
	if len(c.Children) == 0 {
		return nil
	}
	return c.Children[0]
}

// place is the first byte in the query that a window says, or -1: DuckDB does not say that of
// the window itself.
func (e *boundExpr) place() int {
	at := e.at()
	for _, x := range append([]*boundExpr{e.Filters, e.StartExpr, e.EndExpr, e.OffsetExpr, e.DefaultExpr}, e.Children...) {
		if x != nil && at < 0 {
			at = x.at()
		}
	}
	return at
}

// rows compiles which rows a window goes over, and their order.
func (c *windowExpr) rows(w *Window) error {
	for _, p := range c.Partitions {
		e, err := c.c.expression(p, c.in)
		if err != nil {
			return err
		}
		w.Partition = append(w.Partition, e)
	}
	for _, o := range c.Orders {
		e, err := c.c.expression(o.Expression, c.in)
		if err != nil {
			return err
		}
		if o.Type != "ASCENDING" && o.Type != "ORDER_DEFAULT" {
			return refuse(c.at, "a window in descending order is not computed for one row: its frame would hold the rows after it")
		}
		w.Order = append(w.Order, e)
	}
	if len(w.Order) == 0 {
		return refuse(c.at, "a window without ORDER BY is not computed for one row: its frame would hold the rows after it")
	}
	if typ := w.Order[0].Type; typ != "TIMESTAMP" && typ != "TIMESTAMP WITH TIME ZONE" && typ != "DATE" {
		return refuse(c.at, "a window that is not ordered by a time is not computed for one row: nothing says which rows are before it. It is ordered by a %s", typ)
	}
	return nil
}

// frame compiles the frame of a window.
func (c *windowExpr) frame(v *WindowValue, order *Expr) error {
	var err error
	switch c.Start {
	case "UNBOUNDED_PRECEDING":
	case "EXPR_PRECEDING_ROWS":
		if v.Rows, err = c.count(c.StartExpr); err != nil {
			return err
		}
		v.Ordered = true
	case "EXPR_PRECEDING_RANGE":
		if v.Start, err = c.bound(c.StartExpr, order); err != nil {
			return err
		}
	case "CURRENT_ROW_ROWS", "CURRENT_ROW_RANGE":
		v.Rows, v.Ordered = 0, true
	default:
		return c.ahead(c.Start)
	}
	switch c.End {
	case "CURRENT_ROW_ROWS":
		v.Current, v.Ordered = true, true
	case "CURRENT_ROW_RANGE":
		v.Current = true
		v.Ordered = v.Ordered || c.Exclude != "GROUP" && c.Exclude != "TIES"
	case "EXPR_PRECEDING_ROWS":
		n, err := c.count(c.EndExpr)
		if err != nil {
			return err
		}
		v.Ordered = true
		if v.Current = n == 0; n > 0 {
			v.Skip = n - 1
		}
	case "EXPR_PRECEDING_RANGE":
		if v.End, err = c.bound(c.EndExpr, order); err != nil {
			return err
		}
	default:
		return c.ahead(c.End)
	}
	switch c.Exclude {
	case "NO_OTHER", "":
	case "CURRENT_ROW", "GROUP":
		v.Current = false
	case "TIES":
	default:
		return refuse(c.at, "a window with EXCLUDE %s is not computed for one row", c.Exclude)
	}
	return nil
}

func (c *windowExpr) ahead(bound string) error {
	if strings.Contains(bound, "FOLLOWING") {
		return refuse(c.at, "a window that looks ahead, FOLLOWING, is not computed for one row: the rows after it are not known yet")
	}
	return refuse(c.at, "a window of a frame in GROUPS is not computed for one row")
}

// count returns a constant number of rows.
func (c *windowExpr) count(x *boundExpr) (int64, error) {
	e, err := c.c.expression(x, c.in)
	if err != nil {
		return 0, err
	}
	b, err := newBuilder(Input{}, 0, nil)
	if err != nil {
		return 0, err
	}
	if isConstant(e) && e.Type == "BIGINT" {
		f, err := b.expr(e)
		if err != nil {
			return 0, err
		}
		r := newRow(0, nil)
		if v := f(r); r.err == nil && !v.Null && v.Int() >= 0 && v.Int() <= mostRowsBefore {
			return v.Int(), nil
		}
	}
	return 0, refuse(c.at, "a window whose number of rows is not a constant from 0 to %s is not computed for one row", strconv.Itoa(mostRowsBefore))
}

// mostRowsBefore is the largest number of rows of a frame, which are kept for each key.
const mostRowsBefore = 1_000_000

// bound compiles a bound of times: the time of the row minus a constant.
func (c *windowExpr) bound(x *boundExpr, order *Expr) (*Expr, error) {
	e, err := c.c.expression(x, c.in)
	if err != nil {
		return nil, err
	}
	if e.Op != "call" || e.Name != "-" || len(e.Args) != 2 || !alike(e.Args[0], order) || !isConstant(e.Args[1]) {
		return nil, refuse(c.at, "a window whose RANGE is not a constant length of time is not computed for one row")
	}
	if e.Type != order.Type {
		return nil, refuse(c.at, "a window over a %s with a RANGE of another type is not computed for one row: cast it to TIMESTAMP", order.Type)
	}
	return e, nil
}

// alike reports whether two expressions are the same, wherever they are in the query.
func alike(a, b *Expr) bool {
	if a == nil || b == nil {
		return a == b
	}
	same := a.Op == b.Op && a.Name == b.Name && a.Type == b.Type && a.Index == b.Index && a.From == b.From && a.Try == b.Try &&
		len(a.Args) == len(b.Args) && (a.Value == nil) == (b.Value == nil) && (a.Value == nil || *a.Value == *b.Value)
	for i := range a.Args {
		same = same && alike(a.Args[i], b.Args[i])
	}
	return same
}
