//go:build tinygo

package main

// TinyGo exports with export.

//export OnStart
func exportOnStart() { onStart() }

//export OnStop
func exportOnStop() { onStop() }

//export OnHealthCheck
func exportOnHealthCheck() uint64 { return onHealthCheck() }

//export OnMetrics
func exportOnMetrics() uint64 { return onMetrics() }
