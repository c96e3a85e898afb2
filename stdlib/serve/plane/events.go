package plane

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Events are what takes the events of a history.
type Events interface {
	// Post adds n events, and returns how many were new.
	Post(rows []rowsql.Value, n int) (added int, err error)
	// Name identifies the log of the events.
	Name() string
	// Follow returns when the history has the events that were confirmed before.
	Follow()
}

// An eventsConfig is how clients send events. Its zero value is that they do not.
type eventsConfig struct {
	Events       Events
	EventColumns ir.Schema
	MaxEvents    int // of a request
	// Memory is what the history has in memory; nil if there is none.
	Memory func() features.Memory
	counts *eventCounts
}

// remember loads the history of the features, if they have one, and takes its events.
func (c *Config) remember(ctx context.Context, s *step.Step, f *features.Features, most int) (stop func(), err error) {
	h := f.History()
	if h == nil {
		return func() {}, nil
	}
	c.Memory = h.Memory
	if most == 0 {
		return func() {}, events.Load(ctx, s, h)
	}
	feed, err := events.Open(ctx, s, h, c.Log)
	if err != nil {
		return nil, err
	}
	c.Events, c.EventColumns, c.MaxEvents = feed, h.Columns(), most
	return feed.Close, nil
}

// takeEvents adds the path that takes events.
func (p *Plane) takeEvents() error {
	if p.Events == nil {
		return nil
	}
	p.counts = &eventCounts{since: now()}
	decoder, err := request.NewList("events", p.EventColumns, p.MaxEvents)
	if err != nil {
		return err
	}
	p.handle("/events", http.MethodPost, func(x *work, r *http.Request) { p.postEvents(x, r, decoder) })
	return nil
}

// postEvents answers when the events count. Of a request, all count or none.
func (p *Plane) postEvents(x *work, r *http.Request, decoder *request.Decoder) {
	w := &x.answered
	if _, ok := p.receive(x, r); !ok {
		return
	}
	errs := decoder.Decode(x.body.Bytes(), &x.rows)
	<-p.slots // the disk is no processor
	x.span.Phase("decode")
	if len(errs) > 0 {
		p.counts.malformed()
		detail(w, http.StatusUnprocessableEntity, errs)
		return
	}
	n := x.rows.Len()
	x.span.Rows(n)
	added, err := p.Events.Post(x.rows.Values, n)
	x.span.Phase("write")
	p.counts.add(added, n, err)
	if err != nil {
		p.refuseEvents(w, err)
		return
	}
	x.text = append(x.text[:0], `{"added":`...)
	x.text = append(strconv.AppendInt(x.text, int64(added), 10), `,"known":`...)
	x.text = append(strconv.AppendInt(x.text, int64(n-added), 10), '}')
	write(w, jsonType[0], x.text)
}

// refuseEvents answers for events that are not added.
func (p *Plane) refuseEvents(w http.ResponseWriter, err error) {
	var row *events.RowError
	var value *model.ValueError
	var wrong *rowsql.Error
	switch {
	case errors.Is(err, events.ErrStopped):
		detail(w, http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, rowsql.ErrFull):
		detail(w, http.StatusInsufficientStorage, err.Error())
	case errors.As(err, &row) && errors.As(err, &value):
		refuse(w, value.Reason, "events", row.Row, value.Column)
	case errors.As(err, &row) && errors.As(err, &wrong):
		refuse(w, wrong.Error(), "events", row.Row)
	default:
		p.Log("error: " + err.Error())
		detail(w, http.StatusInternalServerError, "the events were not written, or it is not known whether they were; the log of the service says why. Send them again")
	}
}

// eventsPath describes the path, and the body, in OpenAPI. It is nothing without events.
func (p *Plane) eventsPath() object {
	if p.Events == nil {
		return nil
	}
	var properties object
	required := []string{}
	for _, c := range p.EventColumns {
		properties = append(properties, field{c.Name, p.property(c)})
		if !c.Nullable {
			required = append(required, c.Name)
		}
	}
	event := object{{"additionalProperties", false}, {"properties", properties}, {"required", required}, {"title", "Event"}, {"type", "object"}}
	body := object{{"additionalProperties", false}, {"example", object{{"events", []any{example(p.EventColumns)}}}},
		{"properties", object{{"events", object{{"items", event}, {"maxItems", p.MaxEvents}, {"minItems", 1}, {"title", "Events"}, {"type", "array"}}}}},
		{"required", []string{"events"}}, {"title", "EventsRequest"}, {"type", "object"}}
	post := object{{"summary", "Add events to the history, each once"}, {"operationId", "events_events_post"},
		{"responses", object{{"200", described(object{})}, {"422", object{{"description", "Validation Error"}, {"content", object{{"application/json", object{{"schema", object{{"$ref", "#/components/schemas/HTTPValidationError"}}}}}}}}}}},
		{"requestBody", object{{"content", object{{"application/json", object{{"schema", body}}}}}, {"required", true}}}}
	return object{{"/events", object{{"post", post}}}}
}
