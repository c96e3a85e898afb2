package rowsql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// This file alone knows the shape of the bound plan that DuckDB 1.5 writes with
// json_serialize_plan.

// A boundPlan is a node of DuckDB's logical plan.
type boundPlan struct {
	Type        string        `json:"type"`
	Children    []*boundPlan  `json:"children"`
	Expressions []*boundExpr  `json:"expressions"`
	TableIndex  int           `json:"table_index"`
	Names       []string      `json:"names"`
	Returned    []boundType   `json:"returned_types"`
	Function    boundScan     `json:"function_data"`
	Name        string        `json:"name"`
	Columns     []boundColumn `json:"column_indexes"`
	Filters     struct {
		Filters []any `json:"filters"`
	} `json:"table_filters"`
	ProjectionIDs []int           `json:"projection_ids"`
	Projected     json.RawMessage `json:"projection_map"`
	Groups        []any           `json:"groups"`
	LeftMap       []int           `json:"left_projection_map"`
	RightMap      []int           `json:"right_projection_map"`

	JoinType   string      `json:"join_type"`
	Conditions []boundCond `json:"conditions"`
	Predicate  *boundExpr  `json:"predicate"`

	CTE   int      `json:"cte_index"`
	Bound []string `json:"bound_columns"`
}

type boundScan struct {
	Table string `json:"table"`
}

type boundColumn struct {
	Index    uint64 `json:"index"`
	HasIndex *bool  `json:"has_index"`
	Children []any  `json:"child_indexes"`
	Type     string `json:"index_type"`
}

type boundCond struct {
	Left, Right *boundExpr
	Comparison  string
}

type boundType struct {
	ID   string `json:"id"`
	Info *struct {
		Type      string `json:"type"`
		Alias     string `json:"alias"`
		Collation string `json:"collation"`
		Width     int    `json:"width"`
		Scale     int    `json:"scale"`
		// Of lists and structs:
		Child    *boundType `json:"child_type"`
		Children []struct {
			First  string    `json:"first"`
			Second boundType `json:"second"`
		} `json:"child_types"`
	} `json:"type_info"`
}

func (t boundType) name() (string, error) {
	if t.Info == nil {
		return t.ID, nil
	}
	switch {
	case t.Info.Alias != "":
		return "", fmt.Errorf("the type %s is not supported", t.Info.Alias)
	case t.Info.Collation != "":
		return "", fmt.Errorf("the collation %s is not supported", t.Info.Collation)
	case t.ID == "DECIMAL":
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Info.Width, t.Info.Scale), nil
	case t.Info.Type == "STRING_TYPE_INFO":
		return t.ID, nil
	}
	return "", fmt.Errorf("the type %s is not supported", t.ID)
}

type boundExpr struct {
	Class    string      `json:"expression_class"`
	Type     string      `json:"type"`
	Alias    string      `json:"alias"`
	Location json.Number `json:"query_location"`
	Return   boundType   `json:"return_type"`
	Index    int         `json:"index"`
	Name     string      `json:"name"`
	Children []*boundExpr
	Child    *boundExpr
	Left     *boundExpr
	Right    *boundExpr
	Try      bool `json:"try_cast"`
	Checks   []struct {
		When *boundExpr `json:"when_expr"`
		Then *boundExpr `json:"then_expr"`
	} `json:"case_checks"`
	Else           *boundExpr `json:"else_expr"`
	Input          *boundExpr
	Lower          *boundExpr
	Upper          *boundExpr
	LowerInclusive bool `json:"lower_inclusive"`
	UpperInclusive bool `json:"upper_inclusive"`
	Value          *boundValue
	boundWindow
}

// parts returns the expressions that one is made of.
func (e *boundExpr) parts() []*boundExpr {
	all := slices.Concat(e.Children, e.Partitions, []*boundExpr{e.Child, e.Left, e.Right, e.Else, e.Input, e.Lower, e.Upper, e.Filters})
	for _, c := range e.Checks {
		all = append(all, c.When, c.Then)
	}
	for _, o := range e.Orders {
		all = append(all, o.Expression)
	}
	return slices.DeleteFunc(all, func(x *boundExpr) bool { return x == nil })
}

type boundValue struct {
	Type  boundType       `json:"type"`
	Null  bool            `json:"is_null"`
	Value json.RawMessage `json:"value"`
}

// at is the byte in the query, or -1.
func (e *boundExpr) at() int {
	if i, err := e.Location.Int64(); err == nil {
		return int(i)
	}
	return -1
}

// text returns the value of a constant as text: digits, "true", or the text itself.
func (v *boundValue) text() (string, error) {
	raw := strings.TrimSpace(string(v.Value))
	switch {
	case strings.HasPrefix(raw, `"`):
		var s string
		err := json.Unmarshal(v.Value, &s)
		return s, err
	case strings.HasPrefix(raw, "{"):
		var wide struct {
			Upper int64  `json:"upper"`
			Lower uint64 `json:"lower"`
		}
		if v.Type.ID != "HUGEINT" && v.Type.ID != "DECIMAL" {
			return "", fmt.Errorf("a constant of the type %s is not supported", v.Type.ID)
		}
		if err := json.Unmarshal(v.Value, &wide); err != nil {
			return "", err
		}
		n := int128{wide.Upper, wide.Lower}
		return string(n.appendDecimal(nil, 39, 0)), nil
	case raw == "":
		return "", nil
	}
	return raw, nil
}

// decodeBound reads the plan of one SELECT.
func decodeBound(doc []byte) (*boundPlan, error) {
	var d struct {
		Error   bool         `json:"error"`
		Message string       `json:"error_message"`
		Plans   []*boundPlan `json:"plans"`
	}
	if err := json.Unmarshal(doc, &d); errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil, refuse(-1, "it has a clause, such as VALUES, that is not computed row by row")
	} else if err != nil {
		return nil, fmt.Errorf("decode DuckDB's plan of a query: %w", err)
	}
	if d.Error {
		// DuckDB binds the query, but has no text for the plan.
		return nil, refuse(-1, "DuckDB does not write its plan: %s", d.Message)
	}
	if len(d.Plans) != 1 {
		return nil, fmt.Errorf("DuckDB made %d plans of the query, wanted 1", len(d.Plans))
	}
	return d.Plans[0], nil
}
