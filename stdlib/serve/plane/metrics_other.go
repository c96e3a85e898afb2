//go:build !linux

package plane

func (w *metricText) process() {}
