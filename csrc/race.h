// The race of answers for the most votes: what votes.cpp and first_votes.cpp share.
#pragma once

#include "spectrum.h"
#include "votes.h"

namespace ttc_fast {

constexpr double kLeast = 1e-17;    // events below this probability are left out
constexpr double kLeastTriple = 1e-15;  // and ties of three or more below this one, of which there is one for each j

// Answers with the same number of samples, one of which may win.
struct Answer {
  std::size_t index;  // among the sizes
  Integer samples, repeats;
  Reals law;                // P(X = start), P(X = start + 1), ...
  Spectrum below;           // sum_{l<j} P(X = l) z^(l-j)
  Spectrum near;            // below, where it matters
  Spectrum factor, before;  // near + u P(X = j), and the product of all before this one
  double at_most = 0;       // P(X <= j)
  Reals later;              // P(X = j and the first c samples are not among the j) for c = 0, 1, ...
  Integer passed;           // the least c for which that is negligible, and 0 is there
  double ahead;             // that for the present place: the answer has j votes, and they are all still to come
  double won = 0;
  Reals wins;               // summands, to be added in the end
};

// Neighbouring places of one contender.
struct Run {
  std::size_t answer;
  Integer seen;  // its samples up to the end of the run
};

// What to do on the way through the places: multiply a factor, or pass runs of two contenders in turn.
struct Step {
  std::size_t factors;        // of contenders, in the product that is read
  std::size_t answer, other;  // whose factor; or of the first run and of the second, the same if there is one
  std::size_t begin, end;     // the runs, none for a factor
};

class Race {
 public:
  explicit Race(const Vote& vote);
  Reals win_probability();

 private:
  bool find_votes();
  void find_frequencies();
  void keep_frequencies(Integer j);
  void keep(const Spectrum& from, Spectrum& to) const;
  void add_drawn(Integer j);
  void add(Integer j, double u, double weight);
  void add_first(Integer j);
  void list_runs();
  void plan();
  void plan(std::size_t factors, std::size_t begin, std::size_t end, std::size_t bottom);
  void pass(const Step& step);
  void pass_late(std::size_t begin);
  Complex root(Integer power) const { return std::polar(1.0, 2 * kPi * (power % vote_.roots) / vote_.roots); }

  const Vote& vote_;
  double p_;
  std::vector<Answer> strong_;        // the others cannot win
  Integer start_, stop_;              // of the laws
  Integer rivals_ = -1, free_;        // strong answers but one; samples of the others, any number of which may be drawn
  Integer first_, last_;              // votes with which one may win
  std::vector<Integer> frequencies_;  // the roots of unity that matter; of conjugate ones, one
  Spectrum rest_;                     // what the free samples add, times z^(answers j - k), over P(sum = k)
  Spectrum back_, turn_;              // 1 / z, z^answers
  std::vector<Integer> kept_;         // those that matter for the present j
  Spectrum base_, product_, after_;
  Reals bound_, worst_;

  // Where the first sample wins a tie:
  std::vector<Answer*> contenders_;             // those that may have the present j votes
  std::vector<Run> runs_;
  std::vector<Step> steps_;                     // through the runs, as far as they were needed
  std::vector<Spectrum> products_;              // base_, answers that cannot have j votes, and 0, 1, ... contenders
  double tied_;                                 // sum of ahead / at_most
  std::vector<std::size_t> present_, seen_at_;  // for the plan: answers of the runs around; when one was seen last
  std::size_t time_ = 0;
};

}  // namespace ttc_fast
