/**
 * Retry budget (design section 5): in the long run at most one second try for every ten first tries, so that clients
 * do not turn an overload into an outage. Source of the scheme: Finagle's RetryBudget, a leaky token bucket.
 */
export interface BudgetStatistics {
  balance: number;
  spent: number;
  refused: number;
}

export class RetryBudget {
  private balance: number;
  private spent = 0;
  private refused = 0;

  constructor(
    private readonly share = 0.1,
    /** Second tries that a fresh client may make before it has earned any; also the most it can save up. */
    private readonly reserve = 8,
  ) {
    this.balance = reserve;
  }

  /** A first try was made. */
  earn(): void {
    this.balance = Math.min(this.reserve, this.balance + this.share);
  }

  /** Whether a second try may be made now; takes it from the balance. */
  spend(): boolean {
    // Ten times a tenth is a little less than one in floating point.
    if (this.balance < 1 - 1e-9) {
      this.refused += 1;
      return false;
    }
    this.balance -= 1;
    this.spent += 1;
    return true;
  }

  statistics(): BudgetStatistics {
    return { balance: this.balance, spent: this.spent, refused: this.refused };
  }
}
