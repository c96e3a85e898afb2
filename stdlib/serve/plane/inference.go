package plane

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// The Open Inference Protocol, version 2, over REST. A request has one tensor for each column,
// and its values are admitted by the rules of /predict.

// A protocol is how a client wants to be told what is wrong.
type protocol uint8

const (
	jsonErrors protocol = iota // {"detail": ...}
	openErrors                 // {"error": "..."}, of the Open Inference Protocol
	grpcErrors                 // in the trailers
)

// refuse answers with what is wrong in one text.
func (a *answer) refuse(status int, what any) {
	says := fmt.Sprint(what)
	if errs, ok := what.([]request.Error); ok {
		var all []string
		for _, e := range errs {
			all = append(all, placed(e))
		}
		says = strings.Join(all, "; ")
	}
	if a.protocol == grpcErrors {
		a.refuseGRPC(status, says)
		return
	}
	body, err := marshal(object{{"error", says}})
	if err != nil {
		panic(err)
	}
	a.Header()["Content-Type"] = jsonType
	a.WriteHeader(status)
	_, _ = a.Write(body) // the client may be gone
}

// placed is an error in words: "inputs hour[3]: ...".
func placed(e request.Error) string {
	var b strings.Builder
	for i, part := range e.Loc {
		switch v := part.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", v)
		default:
			if v == "body" {
				continue
			}
			if i > 1 {
				b.WriteByte(' ')
			}
			fmt.Fprint(&b, v)
		}
	}
	if b.Len() == 0 {
		return e.Msg
	}
	return b.String() + ": " + e.Msg
}

// handleInference adds the paths of the protocol.
func (p *Plane) handleInference() error {
	if err := p.newColumnar(); err != nil {
		return err
	}
	says := func(v any) func(*work, *http.Request) {
		body, err := marshal(v)
		if err != nil {
			panic(err) // texts and numbers have JSON
		}
		return func(x *work, _ *http.Request) { write(&x.answered, jsonType[0], body) }
	}
	ready := func(x *work, _ *http.Request) {
		x.answered.protocol = openErrors
		if why := p.unready(); why != "" {
			detail(&x.answered, http.StatusServiceUnavailable, why)
			return
		}
		write(&x.answered, jsonType[0], []byte(`{"ready":true}`))
	}
	version := strconv.Itoa(p.About.Version)
	p.handle("/v2", http.MethodGet, says(object{{"name", serverName}, {"version", version}, {"extensions", extensions}}))
	p.handle("/v2/health/live", http.MethodGet, says(object{{"live", true}}))
	p.handle("/v2/health/ready", http.MethodGet, ready)
	model := "/v2/models/" + p.About.Name
	for _, path := range []string{model, model + "/versions/" + version} {
		p.handle(path, http.MethodGet, says(p.modelMetadata()))
		p.handle(path+"/ready", http.MethodGet, ready)
		p.handle(path+"/infer", http.MethodPost, p.infer)
	}
	p.handleGRPC()
	return nil
}

const serverName = "tenon"

var extensions = []string{"binary_tensor_data"}

// tensorOf are the metadata of a tensor.
type tensorOf struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

func (p *Plane) inputs() []tensorOf {
	var all []tensorOf
	for _, c := range p.columns {
		all = append(all, tensorOf{c.Name, request.Datatype(c.Type), []int64{-1}})
	}
	return all
}

func (p *Plane) outputs() []tensorOf {
	var all []tensorOf
	for _, r := range p.columnar.results {
		all = append(all, tensorOf{r.Name, request.Datatype(r.Type), r.shape(-1)})
	}
	return all
}

// shape is the shape of a tensor of so many rows.
func (r *result) shape(rows int) []int64 {
	if r.wide > 0 {
		return []int64{int64(rows), int64(r.wide)}
	}
	return []int64{int64(rows)}
}

func (p *Plane) modelMetadata() object {
	parameters := object{{"digest", p.About.Digest}}
	if classes := p.Model.Classes(); len(classes) > 0 {
		parameters = append(parameters, field{"classes", classes}) // in the order of probabilities
	}
	return object{{"name", p.About.Name}, {"versions", []string{strconv.Itoa(p.About.Version)}}, {"platform", serverName},
		{"inputs", p.inputs()}, {"outputs", p.outputs()}, {"parameters", parameters}}
}

// lengthHeader says how many bytes of a body are JSON. After them come bytes of tensors.
const lengthHeader = "Inference-Header-Content-Length"

func (p *Plane) infer(x *work, r *http.Request) {
	x.answered.protocol = openErrors
	ctx, ok := p.receive(x, r)
	if !ok {
		return
	}
	ok = func() bool {
		defer func() { <-p.slots }()
		w := &x.answered
		text, after := x.body.Bytes(), []byte(nil)
		if given := r.Header.Get(lengthHeader); given != "" {
			n, err := strconv.Atoi(given)
			if err != nil || n < 0 || n > len(text) {
				detail(w, http.StatusUnprocessableEntity, "wanted "+lengthHeader+" to be the length of the JSON in the body")
				return false
			}
			text, after = text[:n], text[n:]
		}
		asked, errs := p.columnar.tensors.Decode(text, after, &x.rows)
		if len(errs) > 0 {
			detail(w, http.StatusUnprocessableEntity, errs)
			return false
		}
		if asked.Model == "" {
			asked.Model = p.About.Name // as the path says
		}
		if !p.isModel(w, asked) {
			return false
		}
		results, ok := p.asked(w, asked.Outputs)
		if !ok {
			return false
		}
		if err := p.ask(ctx, x); err != nil {
			p.refuseRow(w, err)
			return false
		}
		p.classify(x)
		p.writeTensors(x, asked, results)
		return true
	}()
	if !ok {
		return
	}
	kind := jsonType
	if x.answered.Header().Get(lengthHeader) != "" {
		kind = binaryType
	}
	p.predicted(x, kind)
}

var binaryType = []string{"application/octet-stream"}

// asked returns the results that a request asks for, or answers with the name that is none. By
// default these are all but the probabilities of all classes.
func (p *Plane) asked(w *answer, outputs []request.Output) ([]*result, bool) {
	var all []*result
	for i := range p.columnar.results {
		if r := &p.columnar.results[i]; len(outputs) == 0 && r.wide == 0 {
			all = append(all, r)
		}
	}
	for _, o := range outputs {
		i := slices.IndexFunc(p.columnar.results, func(r result) bool { return r.Name == o.Name })
		if i < 0 {
			detail(w, http.StatusUnprocessableEntity, "outputs "+request.Short(o.Name)+": the model has no such output")
			return nil, false
		}
		if slices.Contains(all, &p.columnar.results[i]) {
			detail(w, http.StatusUnprocessableEntity, "outputs "+request.Short(o.Name)+": the output comes twice")
			return nil, false
		}
		all = append(all, &p.columnar.results[i])
	}
	return all, true
}

// writeTensors writes the answer into x.text: JSON, and after it the tensors that are wanted as
// bytes.
func (p *Plane) writeTensors(x *work, asked request.Infer, results []*result) {
	b := append(x.text[:0], `{"model_name":`...)
	b = quoted(b, p.About.Name)
	b = append(strconv.AppendInt(append(b, `,"model_version":"`...), int64(p.About.Version), 10), '"')
	if asked.ID != "" {
		b = quoted(append(b, `,"id":`...), asked.ID)
	}
	b = append(quoted(append(b, `,"parameters":{"digest":`...), p.About.Digest), `},"outputs":[`...)
	var after []byte
	rows := x.rows.Len()
	for i, r := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted(append(b, `{"name":`...), r.Name)
		b = append(append(append(b, `,"datatype":"`...), request.Datatype(r.Type)...), `","shape":[`...)
		b = strconv.AppendInt(b, int64(rows), 10)
		if r.wide > 0 {
			b = strconv.AppendInt(append(b, ','), int64(r.wide), 10)
		}
		b = append(b, ']')
		if binary := asked.Binary; binary || i < len(asked.Outputs) && asked.Outputs[i].Binary {
			from := len(after)
			var nulls string
			after, nulls = r.raw(after, x)
			b = strconv.AppendInt(append(b, `,"parameters":{"binary_data_size":`...), int64(len(after)-from), 10)
			if nulls != "" {
				b = append(append(append(b, `,"nulls":"`...), nulls...), '"')
			}
			b = append(b, `}}`...)
			continue
		}
		b = append(b, `,"data":[`...)
		first := true
		r.each(x, func(v rowsql.Value) {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = value(b, r.Type, &v)
		})
		b = append(b, "]}"...)
	}
	b = append(b, "]}"...)
	if after != nil {
		x.answered.Header().Set(lengthHeader, strconv.Itoa(len(b)))
	}
	x.text = append(b, after...)
}

// each calls a function for every value of a result.
func (r *result) each(x *work, do func(rowsql.Value)) {
	for row := range x.rows.Len() {
		for i := range max(r.wide, 1) {
			do(r.value(x, row, i))
		}
	}
}

// className is the name of a class as a text.
func (p *Plane) className(i int) string {
	name := p.Model.ClassNames()[i]
	var plain string
	if json.Unmarshal([]byte(name), &plain) != nil {
		return name
	}
	return plain
}
