package facts

import (
	"cmp"
	"slices"
)

// A Table is what is known about the rows of a table.
type Table struct {
	Columns []Column
	// Findings are about the query that makes the table.
	Findings []Finding
	// Rows are the columns that decide which rows there are: those of conditions, joins and
	// groups. RowsPartial tells that there may be others.
	Rows        []Origin
	RowsPartial bool
	// Filtered tells that the rows were selected by more than equal or missing values,
	// perhaps by their time.
	Filtered bool
	// Keys are sets of columns that identify a row, as far as they are declared.
	Keys [][]string
	// ID names a table that a [Reference] may refer to.
	ID string
	// From lists all tables that the rows are made of. It is nil if they are not known.
	From []string
	// References are the foreign keys of the table.
	References []Reference

	grain *grain
}

// A Reference is a foreign key: rows without nulls in Columns have their values in Keys of
// a row of another table.
type Reference struct {
	Columns []string
	Table   string // the ID of the other table
	Keys    []string
}

// Column returns the column of that name, or nil.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// A Column is what is known about a column.
type Column struct {
	Name string
	// Origins are the columns that its values come from.
	Origins []Origin
	// Partial tells that it may have further origins.
	Partial bool
	// Domain bounds its values.
	Domain Domain
	// Range bounds its values more closely, by what queries do.
	Range Range
	// Narrowed are the bytes of the conditions of the query that narrow Range.
	Narrowed []int
	// Parts are the expressions of which one gives its value. They are nil if conditions may
	// select among their values.
	Parts []Part
	// Unit is the unit in which it is given, if that is known.
	Unit Unit
	// Constants are values that it has in some rows, because an arm of a CASE or the like
	// is that constant.
	Constants []Constant
	// Of is the column of an input that it is, if the query only passes that on.
	Of Ref
	// Type is the declared type of a column of an input.
	Type string
	// NaN tells that NaN is one of its values.
	NaN bool
	// Null tells whether it may be null.
	Null Null
	// joins are the outer joins whose rows without a match have a null here.
	joins []join
	// ties are outer joins of other columns that have no match if this one is null.
	ties []string
	// bound tells that a condition of the query that makes it has selected its values.
	bound bool
	shape
	// Offset is the byte of the query at which its expression begins, or -1 if the query
	// does not name the column.
	Offset int

	ordered bool // it is a number, and never NaN if its range is finite

	attr   int       // see grain; 0 if it is not known
	made   *expr     // that computes it, while its query is analysed
	direct bool      // the values are those of a column of a root table
	tag    *Constant // it is this constant in all rows

	letters string // "upper" or "lower" if it has letters of that case only
}

// Within returns the range of a column: what queries leave, within what is declared.
func (c Column) Within() Range { return declared(c) }

// A Domain is what a column may contain besides null. The zero Domain bounds nothing.
type Domain struct {
	Values   []string // of a text
	Min, Max string   // of a number, in decimal notation, or of a time
}

func (d Domain) bounds() bool { return len(d.Values) > 0 || d.Min != "" || d.Max != "" }

// A Constant is a text or a number in a query.
type Constant struct {
	Text   string
	Number bool
	Offset int // of the byte in the query, or -1
}

// A Finding is a part of a query that is certainly wrong.
type Finding struct {
	Kind   string // see below
	Column string // that is compared
	Of     Ref    // the column of the input that it is
	Constant
	// Ranges are those of both sides, if Kind is Apart or Conflict.
	Ranges [2]Range
	// Other is the byte of the other condition, if Kind is Conflict.
	Other int
	// Columns are those that are compared, if Kind is OtherZone; the first one is, if it is
	// NoDate.
	Columns [2]Column
	// Units are those of both sides, if Kind is OtherUnit.
	Units [2]Unit
}

// The kinds of findings.
const (
	NoSuchValue = "value" // a comparison with a text that the column cannot have
	NeverTrue   = "never" // a condition that is false for all values of the column
	Idle        = "idle"  // a condition that is false for all values of the column, where that may be meant, as in a CASE
	WithNull    = "null"  // a comparison with NULL, which is never true
	Apart       = "apart" // a condition that is false for all values of its two sides
	Conflict    = "both"  // a condition that another one excludes
	NoDate      = "date"  // a text that is no date, where the other values are dates
	OtherZone   = "zone"  // a time with a zone beside one without
	Unreached   = "arm"   // a condition of a CASE that is never true, because of an earlier one
	NoSuchPart  = "part"  // a comparison with a number that a part of a time never is
	OtherUnit   = "unit"  // an expression that puts together values in different units
	// OtherLetters is a comparison of a text in upper or lower case with one that is not.
	// Column is "upper" or "lower".
	OtherLetters = "letters"
)

// A Ref is a column of an input of a query.
type Ref struct{ Input, Column string }

// A Root is a column of a table that no query makes, such as a source.
type Root struct{ Table, Column string }

// An Origin is a column that a value comes from.
type Origin struct {
	Root
	// Row identifies the row of the root's table among those that a row is made of. Two
	// columns with an origin in one row of one table have the same Row. It is empty if
	// several rows contribute.
	Row string
	Use Use
	// Decides is set if the value only depends on it, as on the condition of a CASE or the
	// order of a window, and is not made of it.
	Decides bool
	// Set names the value of an aggregate or a window: two columns with an origin in one Set
	// have it from the same function of the same rows.
	Set string
	// Own is set for a window that includes the row itself.
	Own bool
	// Whole is set for an aggregate over all rows, whatever their time.
	Whole bool
	// Fitted is set for an aggregate or a window over all rows of its table, or over all of
	// a group. Group then names the columns that make the groups, see [Origin.Groups].
	Fitted bool
	Group  string
	// By are the cells that an aggregate is grouped by, if it is made of all rows of its group,
	// each with those that are equal to it where the value is read. Includes are rows that are
	// among those of the group.
	By       []Class
	Includes []string
	// Apart is set if the row was chosen by more than equal values: by a comparison of times
	// or with another row, or by an order. It may be a row from before.
	Apart bool
	// Ahead is the column that orders a window which includes later rows.
	Ahead Root
	// Time is set if the column is the timestamp of its table.
	Time bool
	// Later is the time of a row that the value may be later than, because a condition
	// joins later rows.
	Later Moment
	// Match is set if only the presence of the row matters, as of one that an outer join adds.
	Match bool
	// Part is the part of a UNION whose rows have the value.
	Part string
	// Site is the construct that makes it Whole, Fitted, Ahead or Later.
	Site Site
	// Path names the columns from the root to here, "features/orders.share".
	Path []string

	of       string // the row of an aggregate whose cells are in By
	function string // of an aggregate, if it has one column
}

// A Site is a place in a query. The zero Site is unknown.
type Site struct {
	Query string // set by the caller, for queries that read this one
	At    int    // the byte of the query, from 1
}

// A Use is how a value comes from its origin.
type Use int

// The uses of an origin, from the strongest. A later one covers those before it.
const (
	Copied     Use = iota // it is the value
	Computed              // from the values of one row
	Windowed              // from the values of several rows, by a window function
	Aggregated            // from the values of several rows, by an aggregate
)

// OfRow reports whether the value comes from the row itself, possibly among others.
func (o Origin) OfRow() bool {
	return o.Row != "" && (o.Use <= Computed || o.Use == Windowed && o.Own)
}

// through returns origins as they are after a use of the column.
func through(origins []Origin, use Use) []Origin {
	out := slices.Clone(origins)
	for i := range out {
		out[i].Use = max(out[i].Use, use)
	}
	return out
}

// Through returns origins as they are after a use of the column.
func Through(origins []Origin, use Use) []Origin { return through(origins, use) }

// decisions returns origins as those of a value that other rows with them decide.
func decisions(origins []Origin) []Origin {
	out := make([]Origin, len(origins))
	for i, o := range origins {
		out[i] = Origin{Root: o.Root, Use: Aggregated, Decides: true, Later: o.Later, Site: o.Site, Path: o.Path}
		if o.Later == (Moment{}) {
			out[i].Site = Site{}
		}
	}
	return out
}

// sole returns the only origin, apart from those that only decide.
func sole(origins []Origin) (o Origin, ok bool) {
	for _, x := range origins {
		if x.Decides && x.Row == "" {
			continue
		}
		if ok {
			return Origin{}, false
		}
		o, ok = x, true
	}
	return o, ok
}

// merge joins lists of origins. Of equal ones, one that does not only decide stays, and
// of those the one with the shortest path.
func merge(lists ...[]Origin) []Origin {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b Origin) int {
		return cmp.Or(compare(a, b), order(a.Decides, b.Decides), len(a.Path)-len(b.Path))
	})
	return slices.CompactFunc(all, func(a, b Origin) bool { return compare(a, b) == 0 })
}

func compare(a, b Origin) int {
	return cmp.Or(
		cmp.Compare(a.Table, b.Table), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Set, b.Set), cmp.Compare(a.Use, b.Use),
		order(a.Own, b.Own), order(a.Apart, b.Apart), order(a.Whole, b.Whole), order(a.Fitted, b.Fitted), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Ahead.Table, b.Ahead.Table), cmp.Compare(a.Ahead.Column, b.Ahead.Column),
		cmp.Compare(a.Later.Table, b.Later.Table), cmp.Compare(a.Later.Column, b.Later.Column), cmp.Compare(a.Later.Row, b.Later.Row), cmp.Compare(a.Part, b.Part), order(a.Match, b.Match),
		slices.Compare(a.Includes, b.Includes), cmp.Compare(a.of, b.of))
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
