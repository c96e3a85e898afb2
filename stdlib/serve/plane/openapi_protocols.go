package plane

import (
	"net/http"
	"strconv"
)

// What the document has beyond that of the service in Python: Arrow streams, timeouts, and the
// Open Inference Protocol.

// binarySchema is for bodies that JSON Schema does not describe.
var binarySchema = object{{"type", "string"}, {"format", "binary"}}

// withArrow adds Arrow streams to the contents of a body.
func withArrow(content object) object {
	return append(content, field{arrowType[0], object{{"schema", binarySchema}}})
}

// timeoutParameter is the header with which a client says how long it waits.
var timeoutParameter = object{{"name", timeoutHeader}, {"in", "header"}, {"required", false},
	{"schema", object{{"type", "number"}, {"exclusiveMinimum", 0}, {"description", "seconds that the client waits"}, {"title", timeoutHeader}}},
	{"description", "seconds that the client waits; 504 if it was not computed by then"}}

// inferencePaths are those of the Open Inference Protocol.
func (p *Plane) inferencePaths() object {
	content := func(schema any) object { return object{{"application/json", object{{"schema", schema}}}} }
	get := func(summary string) object {
		return object{{"get", object{{"summary", summary}, {"tags", []string{"v2"}}, {"responses", object{{"200", object{{"description", "Successful Response"}, {"content", content(object{})}}}}}}}}
	}
	text := object{{"type", "string"}}
	integers := object{{"type", "array"}, {"items", object{{"type", "integer"}}}}
	tensor := object{{"type", "object"}, {"required", []string{"name", "datatype", "shape", "data"}},
		{"properties", object{{"name", text}, {"datatype", text}, {"shape", integers}, {"data", object{{"type", "array"}, {"items", object{}}}}}}}
	tensors := object{{"type", "array"}, {"items", tensor}}
	var inputs []any
	for i, t := range p.inputs() {
		inputs = append(inputs, object{{"name", t.Name}, {"datatype", t.Datatype}, {"shape", []int{1}}, {"data", []any{example(p.columns)[i].value}}})
	}
	infer := object{{"post", object{{"summary", "Predict " + p.Label.Name + " with tensors"}, {"tags", []string{"v2"}}, {"parameters", []any{timeoutParameter}},
		{"requestBody", object{{"required", true}, {"content", content(object{{"type", "object"}, {"required", []string{"inputs"}},
			{"example", object{{"inputs", inputs}}}, {"properties", object{{"id", text}, {"inputs", tensors}}}})}}},
		{"responses", object{
			{"200", object{{"description", "Successful Response"}, {"content", content(object{{"type", "object"}, {"required", []string{"model_name", "outputs"}},
				{"properties", object{{"model_name", text}, {"model_version", text}, {"id", text}, {"outputs", tensors}}}})}}},
			{strconv.Itoa(http.StatusUnprocessableEntity), object{{"description", "Validation Error"},
				{"content", content(object{{"type", "object"}, {"properties", object{{"error", text}}}})}}},
		}}}}}
	model := "/v2/models/" + p.About.Name
	return object{{"/v2", get("The server")}, {"/v2/health/live", get("Whether the process is alive")}, {"/v2/health/ready", get("Whether it can answer")},
		{model, get("The tensors of the model")}, {model + "/ready", get("Whether the model can answer")}, {model + "/infer", infer}}
}
