package plane

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math/big"
	"slices"
	"strings"
	"unicode"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// An object is a JSON object that keeps the order of its fields.
type object []field

type field struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// document is the OpenAPI document, with the schemas that FastAPI makes in Python.
func (p *Plane) document() object {
	label := p.Label.Name
	get := func(summary, id string) object {
		return object{{"get", object{{"summary", summary}, {"operationId", id}, {"responses", object{{"200", described(object{})}}}}}}
	}
	predict := p.predictOperation("Predict "+label, "predict_predict_post", "PredictResponse", withArrow)
	paths := object{{"/predict", object{{"post", predict}}}, {"/healthz", get("Whether the process is alive", "healthz_healthz_get")}}
	paths = append(paths, p.eventsPath()...)
	for _, path := range slices.Compact([]string{"/readyz", p.Ready}) {
		paths = append(paths, field{path, get("Whether it can answer", "ready"+path)})
	}
	paths = append(paths, p.explainPaths()...)
	paths = append(paths, field{"/metrics", get("Metrics for Prometheus", "metrics_metrics_get")})
	paths = append(paths, p.inferencePaths()...)
	components := object{{"schemas", p.schemas()}}
	if schemes := p.securitySchemes(); len(schemes) > 0 {
		components = append(components, field{"securitySchemes", schemes})
	}
	return object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", p.About.Name}, {"description", fmt.Sprintf("Predicts `%s` (%s), a %s.", label, p.Label.Type, p.Task)},
			{"version", fmt.Sprint(p.About.Version)}}},
		{"paths", p.secured(paths)},
		{"components", components},
	}
}

// predictOperation is an operation that takes rows, and content adds types to JSON.
func (p *Plane) predictOperation(summary, id, response string, content func(object) object) object {
	ref := func(name string) object { return object{{"$ref", "#/components/schemas/" + name}} }
	const add = "add the probability of every class"
	return object{
		{"summary", summary}, {"operationId", id},
		{"parameters", []any{object{{"name", "probabilities"}, {"in", "query"}, {"required", false},
			{"schema", object{{"type", "boolean"}, {"description", add}, {"default", false}, {"title", "Probabilities"}}},
			{"description", add}}, timeoutParameter}},
		{"responses", object{
			{"200", object{{"description", "Successful Response"}, {"content", content(object{{"application/json", object{{"schema", ref(response)}}}})}}},
			{"422", object{{"description", "Validation Error"}, {"content", object{{"application/json", object{{"schema", ref("HTTPValidationError")}}}}}}},
		}},
		{"requestBody", object{{"content", content(object{{"application/json", object{{"schema", ref("PredictRequest")}}}})}, {"required", true}}},
	}
}

// described is a response with a schema.
func described(schema any) object {
	return object{{"description", "Successful Response"}, {"content", object{{"application/json", object{{"schema", schema}}}}}}
}

func (p *Plane) schemas() object {
	text := func(title string) object { return object{{"type", "string"}, {"title", title}} }
	list := func(title string, items any) object {
		return object{{"items", items}, {"type", "array"}, {"title", title}}
	}
	ref := func(name string) object { return object{{"$ref", "#/components/schemas/" + name}} }
	made := func(title string, properties object, required ...string) object {
		return object{{"properties", properties}, {"type", "object"}, {"required", required}, {"title", title}}
	}
	var properties object
	required := []string{}
	for _, c := range p.columns {
		properties = append(properties, field{c.Name, p.property(c)})
		if !c.Nullable {
			required = append(required, c.Name)
		}
	}
	instance := object{{"additionalProperties", false}, {"example", example(p.columns)}, {"properties", properties}}
	if len(required) > 0 {
		instance = append(instance, field{"required", required})
	}
	instance = append(instance, field{"title", "Instance"}, field{"type", "object"})
	return append(object{
		{"HTTPValidationError", object{{"properties", object{{"detail", list("Detail", ref("ValidationError"))}}}, {"type", "object"}, {"title", "HTTPValidationError"}}},
		{"Model", made("Model", object{{"name", text("Name")}, {"version", object{{"type", "integer"}, {"title", "Version"}}}, {"digest", text("Digest")}}, "name", "version", "digest")},
		{"PredictResponse", made("PredictResponse", object{{"predictions", list("Predictions", ref("Prediction"))}, {"model", ref("Model")}}, "predictions", "model")},
		{"Prediction", made("Prediction", p.prediction(), "prediction")},
		{"ValidationError", made("ValidationError", object{
			{"loc", list("Location", object{{"anyOf", []any{object{{"type", "string"}}, object{{"type", "integer"}}}}})},
			{"msg", text("Message")}, {"type", text("Error Type")}, {"input", object{{"title", "Input"}}}, {"ctx", object{{"type", "object"}, {"title", "Context"}}},
		}, "loc", "msg", "type")},
		{"Instance", instance},
		{"PredictRequest", object{{"additionalProperties", false}, {"example", object{{"instances", []any{example(p.columns)}}}},
			{"properties", object{{"instances", object{{"items", ref("Instance")}, {"maxItems", p.MaxRows}, {"minItems", 1}, {"title", "Instances"}, {"type", "array"}}}}},
			{"required", []string{"instances"}}, {"title", "PredictRequest"}, {"type", "object"}}},
	}, p.explainSchemas()...)
}

// prediction are the fields of an answer for a row.
func (p *Plane) prediction() object {
	kind := object{{"type", "number"}}
	if p.Task == "classification" {
		switch {
		case p.Label.Type == "bool":
			kind = object{{"type", "boolean"}}
		case p.Label.Type == "string":
			kind = append(object{{"type", "string"}}, values(p.Label)...)
		default:
			kind = object{{"type", "integer"}}
		}
	}
	written := func(c ir.Column) bool { return c.Name == "prediction" }
	said := documented(p.Response, written, p.Label.Name)
	out := object{{"prediction", append(append(kind, field{"title", "Prediction"}), said...)}}
	if p.Task == "classification" {
		of := "the predicted class"
		if p.Label.Type == "bool" {
			of = "true"
		}
		out = append(out,
			field{"probability", object{{"type", "number"}, {"maximum", 1.0}, {"minimum", 0.0}, {"title", "Probability"}, {"description", "of " + of + "; absent if the model has none"}}},
			field{"probabilities", object{{"additionalProperties", object{{"type", "number"}}}, {"type", "object"}, {"title", "Probabilities"}, {"description", "of every class, if requested"}}})
	}
	for _, c := range p.repeated {
		out = append(out, field{c.Name, p.property(c)})
	}
	return out
}

// documented is what the columns with a name say for people, or otherwise.
func documented(columns ir.Schema, named func(ir.Column) bool, otherwise string) object {
	text, unit := otherwise, ""
	if i := slices.IndexFunc(columns, named); i >= 0 {
		if columns[i].Description != "" {
			text = columns[i].Description
		}
		unit = columns[i].Unit
	}
	if unit == "" {
		return object{{"description", text}}
	}
	return object{{"description", text + " (" + unit + ")"}, {"x-unit", unit}}
}

// property is the schema of a column of a request.
func (p *Plane) property(c ir.Column) object {
	kind := schemaOf(c)
	said := documented(p.Request, func(w ir.Column) bool { return w.Name == c.Name }, c.Type)
	out := kind
	if c.Nullable {
		out = object{{"anyOf", []any{kind, object{{"type", "null"}}}}, {"default", nil}}
	}
	return append(append(out, field{"title", title(c.Name)}), said...)
}

func values(c ir.Column) object {
	switch len(c.Values) {
	case 0:
		return nil
	case 1:
		return object{{"const", c.Values[0]}}
	}
	return object{{"enum", c.Values}}
}

var formats = map[string]string{"bytes": "base64", "date": "date", "time": "time", "timestamp": "date-time", "timestamptz": "date-time"}

func schemaOf(c ir.Column) object {
	switch {
	case c.Type == "bool":
		return object{{"type", "boolean"}}
	case c.Type == "string":
		out := append(object{{"type", "string"}}, values(c)...)
		if c.JSON {
			out = append(out, field{"contentMediaType", "application/json"})
		}
		return out
	case formats[c.Type] != "":
		out := object{{"format", formats[c.Type]}, {"type", "string"}}
		// Of times, JSON Schema's own minimum and maximum say nothing.
		if c.Min != "" {
			out = append(out, field{"formatMinimum", c.Min.String()})
		}
		if c.Max != "" {
			out = append(out, field{"formatMaximum", c.Max.String()})
		}
		return out
	case strings.HasPrefix(c.Type, "float"):
		const largest = "3.4028234663852886e+38"
		low, high := c.Min, c.Max
		if c.Type == "float32" && low == "" {
			low = "-" + largest
		}
		if c.Type == "float32" && high == "" {
			high = largest
		}
		out := object{}
		if high != "" {
			out = append(out, field{"maximum", high})
		}
		if low != "" {
			out = append(out, field{"minimum", low})
		}
		return append(out, field{"type", "number"})
	}
	low, high := wholeBounds(c)
	return object{{"maximum", json.Number(high.String())}, {"minimum", json.Number(low.String())}, {"type", "integer"}}
}

// wholeBounds are the lowest and the highest value of an integer column.
func wholeBounds(c ir.Column) (low, high *big.Int) {
	bits := uint(64)
	if _, err := fmt.Sscanf(strings.TrimLeft(c.Type, "uint"), "%d", &bits); err != nil {
		bits = 64
	}
	one := big.NewInt(1)
	low, high = new(big.Int).Neg(new(big.Int).Lsh(one, bits-1)), new(big.Int).Lsh(one, bits-1)
	if strings.HasPrefix(c.Type, "u") {
		low, high = new(big.Int), new(big.Int).Lsh(one, bits)
	}
	high.Sub(high, one)
	if r, ok := new(big.Rat).SetString(c.Min.String()); ok {
		if up := ceil(r); up.Cmp(low) > 0 {
			low = up
		}
	}
	if r, ok := new(big.Rat).SetString(c.Max.String()); ok {
		if down := floor(r); down.Cmp(high) < 0 {
			high = down
		}
	}
	return low, high
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

func ceil(r *big.Rat) *big.Int { return new(big.Int).Neg(floor(new(big.Rat).Neg(r))) }

// title is a name as pydantic shows it: "wind_speed" is "Wind Speed".
func title(name string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		if r == '_' {
			r = ' '
		}
		switch letter := unicode.IsLetter(r); {
		case letter && inWord:
			return unicode.ToLower(r)
		case letter:
			inWord = true
			return unicode.ToTitle(r)
		default:
			inWord = false
			return r
		}
	}, name)
}

// example is a valid instance.
func example(columns ir.Schema) object {
	out := object{}
	for _, c := range columns {
		out = append(out, field{c.Name, request.Example(c)})
	}
	return out
}

//go:embed docs.html
var docsPage string

var docsTemplate = template.Must(template.New("docs").Parse(docsPage))

// page is the page for people. It needs nothing from elsewhere: services often run where
// there is no Internet.
func (p *Plane) page() ([]byte, error) {
	type column struct{ Name, Type, Says, Allowed string }
	rows := func(columns ir.Schema, documented ir.Schema) []column {
		var out []column
		for _, c := range columns {
			x := column{Name: c.Name, Type: c.Type, Allowed: allowed(c)}
			if i := slices.IndexFunc(documented, func(w ir.Column) bool { return w.Name == c.Name }); i >= 0 {
				x.Says = strings.TrimSpace(documented[i].Description + " " + documented[i].Unit)
				if documented[i].Unit != "" {
					x.Says = strings.TrimSpace(documented[i].Description + " (" + documented[i].Unit + ")")
				}
			}
			out = append(out, x)
		}
		return out
	}
	body, err := json.MarshalIndent(object{{"instances", []any{example(p.columns)}}}, "", "  ")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = docsTemplate.Execute(&b, map[string]any{
		"Name": p.About.Name, "Version": p.About.Version, "Digest": p.About.Digest, "Task": p.Task, "Label": p.Label.Name, "Type": p.Label.Type,
		"Classes": len(p.Model.Classes()) > 0, "Request": rows(p.columns, p.Request), "Example": string(body), "MaxRows": p.MaxRows, "MaxBytes": p.MaxBytes, "Ready": p.Ready, "Explains": p.unit(),
		"Asks": len(p.edge.Schemes()) > 0 && p.edge.Asks(p.accessOf("/predict")),
	})
	return b.Bytes(), err
}

// allowed says in words which values a column may have.
func allowed(c ir.Column) string {
	var says []string
	if len(c.Values) > 0 {
		says = append(says, "one of "+strings.Join(c.Values, ", "))
	}
	if c.Min != "" {
		says = append(says, "at least "+c.Min.String())
	}
	if c.Max != "" {
		says = append(says, "at most "+c.Max.String())
	}
	if c.JSON {
		says = append(says, "JSON")
	}
	if c.Nullable {
		says = append(says, "may be null or left out")
	}
	return strings.Join(says, "; ")
}
