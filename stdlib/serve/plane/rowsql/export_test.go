package rowsql

import "strings"

// Implemented returns for each function the names by which none of some calls calls it.
func Implemented(calls []*Expr) map[string][]string {
	called := map[*function]map[string]bool{}
	for _, e := range calls {
		c := &call{Expr: e}
		c.result, _ = parseType(e.Type)
		for _, a := range e.Args {
			t, _ := parseType(a.Type)
			c.types = append(c.types, t)
		}
		if f := c.find(); f != nil {
			if called[f] == nil {
				called[f] = map[string]bool{}
			}
			called[f][strings.ToLower(e.Name)] = true
		}
	}
	missing := map[string][]string{}
	for i := range functions {
		f := &functions[i]
		// Each function is to be called, and each name for some types.
		if len(called[f]) == 0 {
			missing[f.args+" "+f.names] = strings.Fields(f.names)
		}
	}
	return missing
}
