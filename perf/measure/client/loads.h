// The loads that main() chooses from; each runs to its end and prints its line.
#pragma once
#include "options.h"

void run_requests(const Options& options);  // echo, http and churn
void run_fanout(const Options& options);
void hold_idle(const Options& options);  // until standard input ends
