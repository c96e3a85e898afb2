package request

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Example is a valid value of a column, as JSON has it.
func Example(c ir.Column) any {
	texts := map[string]string{"bytes": "AA==", "date": "2024-05-17", "time": "13:37:00", "timestamp": "2024-05-17T13:37:00", "timestamptz": "2024-05-17T13:37:00Z"}
	switch {
	case c.Type == "bool":
		return true
	case c.Type == "string" && len(c.Values) > 0:
		return c.Values[0]
	case c.Type == "string" && c.JSON:
		return "{}"
	case c.Type == "string":
		return "text"
	case texts[c.Type] != "":
		text := texts[c.Type]
		switch low, high := c.Min.String(), c.Max.String(); {
		case low != "" && text < low:
			return low
		case high != "" && text > high:
			return high
		}
		return text
	}
	low, hasLow := new(big.Rat).SetString(c.Min.String())
	high, hasHigh := new(big.Rat).SetString(c.Max.String())
	value := new(big.Rat)
	switch {
	case hasLow && hasHigh:
		value.Quo(value.Add(low, high), big.NewRat(2, 1))
	case hasLow:
		value = low
	case hasHigh:
		value = high
	}
	if strings.HasPrefix(c.Type, "float") {
		x, _ := value.Float64()
		return json.Number(AppendFloat(nil, x))
	}
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if hasLow && new(big.Rat).SetInt(whole).Cmp(low) < 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return json.Number(whole.String())
}

// longestExample is how long an example in an error may be.
const longestExample = 300

// shownExample is a valid body, for an error. Of many columns it has the first.
func shownExample(list string, columns ir.Schema) string {
	begin := "{" + quoted(list) + ": [{"
	row := ""
	for _, c := range columns {
		more := quoted(c.Name) + ": " + quoted(Example(c))
		if row != "" {
			more = ", " + more
		}
		if body := begin + row + more + `}]}`; utf8.RuneCountInString(body) > longestExample {
			if row != "" {
				row += ", "
			}
			return begin + row + `...}]}`
		}
		row += more
	}
	return begin + row + `}]}`
}

func quoted(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // texts, numbers and bools have JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}
