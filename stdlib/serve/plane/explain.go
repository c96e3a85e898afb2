package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// An Explainer says what each column of a row contributes to its prediction. It is safe for
// concurrent use.
type Explainer interface {
	// Unit is what the contributions add up to, see [model.LogOdds] and others.
	Unit() string
	// Classes are those whose sums are explained: one of two, all of several, or none if the
	// prediction is a number.
	Classes() []int
	// Base are the sums of which nothing is known of a row.
	Base() []float64
	// Explain writes, for each row and each sum, the contributions of the columns of the model.
	Explain(ctx context.Context, rows []rowsql.Value, contributions []float64, b *model.Buffer) error
}

// explain makes the plane explain predictions, or say why it does not.
func (c *Config) explain(s *step.Step) error {
	m, ok := c.Model.(*model.Model)
	if !ok {
		c.Unexplained = "only predictions of trees that are served without Python are explained"
		return nil
	}
	b, err := os.ReadFile(filepath.Join(s.Inputs["model"].Path, Exported))
	if err != nil {
		return err
	}
	x, err := model.NewExplainer(m, b)
	if err != nil {
		c.Unexplained = "predictions of this model are not explained: " + err.Error()
		c.Log("note: /explain answers 501: " + c.Unexplained)
		return nil
	}
	c.Explainer = x
	return nil
}

// explains adds the path of explanations.
func (p *Plane) explains() error {
	switch {
	case p.Unexplained != "":
		p.handle("/explain", http.MethodPost, func(x *work, _ *http.Request) {
			detail(&x.answered, http.StatusNotImplemented, p.Unexplained)
		})
		return nil
	case p.Explainer == nil:
		return nil
	}
	for _, c := range p.repeated {
		if slices.Contains([]string{"base", "contributions", "inputs"}, c.Name) {
			return fmt.Errorf("an explanation cannot repeat the column %s: it has a field of this name", c.Name)
		}
	}
	tail := object{{"explains", p.Explainer.Unit()}}
	if classes := p.Explainer.Classes(); len(classes) == 1 {
		tail = append(tail, field{"class", p.Model.Classes()[classes[0]]})
	}
	b, err := marshal(append(tail, field{"model", p.About}))
	if err != nil {
		return err
	}
	e := &explaining{p: p, tail: b[1:]}
	for _, c := range p.Model.Columns() {
		name, err := marshal(c.Name)
		if err != nil {
			return err
		}
		e.names = append(e.names, append(name, ':'))
	}
	p.handle("/explain", http.MethodPost, e.answer)
	return nil
}

// mostContributions is how many numbers an answer has. A model of many classes has one for each
// class and column, so that a small request could ask for a very large answer.
const mostContributions = 1 << 20

// explaining answers requests for explanations.
type explaining struct {
	p     *Plane
	names [][]byte // of the columns of the model, as JSON with a colon
	tail  []byte   // of an answer, after the list
}

func (e *explaining) answer(x *work, r *http.Request) {
	every, ok := asksEvery(x, r)
	if !ok {
		return
	}
	if ctx, ok := e.p.receive(x, r); ok && e.compute(ctx, x, every) {
		x.send(jsonType)
	}
}

// compute writes the answer into x.text, or answers with what is wrong. It frees the slot of
// the request.
func (e *explaining) compute(ctx context.Context, x *work, every bool) bool {
	p := e.p
	defer func() { <-p.slots }()
	if errs := p.decoder.Decode(x.body.Bytes(), &x.rows); len(errs) > 0 {
		detail(&x.answered, http.StatusUnprocessableEntity, errs)
		return false
	}
	size := len(p.Explainer.Base()) * len(e.names)
	if most := max(1, mostContributions/size); x.rows.Len() > most {
		refuse(&x.answered, fmt.Sprintf("at most %d instances of this model are explained at a time", most), "instances")
		return false
	}
	err := p.ask(ctx, x)
	rows := x.rows.Values
	if p.Features != nil {
		rows = x.computed
	}
	if err == nil {
		x.contributions = resized(x.contributions, x.rows.Len()*size)
		err = p.Explainer.Explain(ctx, rows, x.contributions, &x.buffer)
		x.span.Phase("explain")
	}
	if err != nil {
		p.refuseRow(&x.answered, err)
		return false
	}
	x.text = append(x.text[:0], `{"explanations":[`...)
	p.classify(x)
	for i := range x.rows.Len() {
		if i > 0 {
			x.text = append(x.text, ',')
		}
		p.append(x, i, every)
		x.text = e.row(x.text[:len(x.text)-1], rows[i*len(e.names):][:len(e.names)], x.contributions[i*size:][:size])
	}
	x.text = append(append(x.text, `],`...), e.tail...)
	return true
}

// row adds the explanation of a row.
func (e *explaining) row(b []byte, row []rowsql.Value, contributions []float64) []byte {
	p, n := e.p, len(e.names)
	base, classes := p.Explainer.Base(), p.Explainer.Classes()
	if b = append(b, `,"base":`...); len(base) == 1 {
		b = request.AppendFloat(b, base[0])
		b = e.columns(append(b, `,"contributions":`...), func(b []byte, i int) []byte { return request.AppendFloat(b, contributions[i]) })
	} else {
		names := p.Model.ClassNames()
		for i, class := range classes {
			b = append(append(append(b, "{,"[min(i, 1)]), names[class]...), ':')
			b = request.AppendFloat(b, base[i])
		}
		b = append(b, `},"contributions":`...)
		for i, class := range classes {
			b = append(append(append(b, "{,"[min(i, 1)]), names[class]...), ':')
			b = e.columns(b, func(b []byte, j int) []byte { return request.AppendFloat(b, contributions[i*n+j]) })
		}
		b = append(b, '}')
	}
	if p.Features != nil {
		columns := p.Model.Columns()
		b = e.columns(append(b, `,"inputs":`...), func(b []byte, i int) []byte { return value(b, columns[i].Type, &row[i]) })
	}
	return append(b, '}')
}

// columns adds an object with a field for each column of the model.
func (e *explaining) columns(b []byte, value func(b []byte, i int) []byte) []byte {
	for i, name := range e.names {
		b = value(append(append(b, "{,"[min(i, 1)]), name...), i)
	}
	return append(b, '}')
}

// unit is what contributions add up to, or "" if nothing is explained.
func (p *Plane) unit() string {
	if p.Explainer == nil {
		return ""
	}
	return p.Explainer.Unit()
}

// explainPaths are the paths of the OpenAPI document, and explainSchemas its schemas.
func (p *Plane) explainPaths() object {
	if p.Explainer == nil {
		return nil
	}
	predict := p.predictOperation("Explain "+p.Label.Name, "explain_explain_post", "ExplainResponse", func(json object) object { return json })
	return object{{"/explain", object{{"post", predict}}}}
}

func (p *Plane) explainSchemas() object {
	if p.Explainer == nil {
		return nil
	}
	number := object{{"type", "number"}}
	var columns, inputs object
	var names []string
	for _, c := range p.Model.Columns() {
		columns = append(columns, field{c.Name, number})
		inputs = append(inputs, field{c.Name, p.property(c)})
		names = append(names, c.Name)
	}
	of := func(properties object, names []string) object {
		return object{{"additionalProperties", false}, {"properties", properties}, {"required", names}, {"type", "object"}}
	}
	contributions, base := of(columns, names), number
	explains := p.Explainer.Unit()
	if classes := p.Explainer.Classes(); len(classes) > 1 {
		var each, bases object
		var all []string
		for _, class := range classes {
			var name string
			if err := json.Unmarshal([]byte(p.Model.ClassNames()[class]), &name); err != nil {
				panic(err) // they are JSON strings
			}
			each, bases, all = append(each, field{name, contributions}), append(bases, field{name, number}), append(all, name)
		}
		contributions, base = of(each, all), of(bases, all)
	}
	says := func(o object, title, text string) object {
		return append(slices.Clone(o), field{"title", title}, field{"description", text})
	}
	explanation := append(p.prediction(),
		field{"base", says(base, "Base", "the "+explains+" of a row of which nothing is known")},
		field{"contributions", says(contributions, "Contributions", "of each input of the model: with the base, they add up to the "+explains)})
	required := []string{"prediction", "base", "contributions"}
	if p.Features != nil {
		explanation = append(explanation, field{"inputs", says(of(inputs, names), "Inputs", "of the model, as they were computed")})
		required = append(required, "inputs")
	}
	response := object{{"explanations", object{{"items", object{{"$ref", "#/components/schemas/Explanation"}}}, {"type", "array"}, {"title", "Explanations"}}},
		{"explains", object{{"const", explains}, {"title", "Explains"}, {"description", "what contributions add up to"}}}}
	answer := []string{"explanations", "explains"}
	if classes := p.Explainer.Classes(); len(classes) == 1 {
		response = append(response, field{"class", object{{"const", p.Model.Classes()[classes[0]]}, {"title", "Class"}, {"description", "whose " + explains + " it is"}}})
		answer = append(answer, "class")
	}
	response = append(response, field{"model", object{{"$ref", "#/components/schemas/Model"}}})
	return object{
		{"ExplainResponse", object{{"properties", response}, {"type", "object"}, {"required", append(answer, "model")}, {"title", "ExplainResponse"}}},
		{"Explanation", object{{"properties", explanation}, {"type", "object"}, {"required", required}, {"title", "Explanation"}}},
	}
}
